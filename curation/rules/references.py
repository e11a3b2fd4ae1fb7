"""Embeddings of reference images, which pairs are compared with."""

import pathlib
from collections.abc import Callable

import numpy as np

from curation import operators
from curation.on_disk import embedding_store
from inference import image_files
from input_pipeline import faults
from input_pipeline.images import image_ops
from input_pipeline.sources import record
from input_pipeline.storage import npy
from runtime import progress

# File of image embeddings in a folder of --task=embed.
_IMAGES = "images.npy"
_BATCH_SIZE = 256
# Rows that are normalised at once.
_BLOCK = 1 << 16


def check(references: str, field: str) -> None:
  """Raise ValueError, naming `field`.references, if there are none."""
  if not references:
    raise ValueError(
      f"{field}.references must name a .npy file of embeddings [R, E], a "
      "folder of --task=embed, a folder of images or a pattern as "
      "\"images/**/*.jpg\"; got ''"
    )
  if references.endswith(".npy"):
    path = pathlib.Path(references)
    if not path.exists():
      raise ValueError(f"{field}.references: there is no {references}")
    return
  if not (pathlib.Path(references) / _IMAGES).exists():
    try:
      image_files.find(references)
    except ValueError as error:
      raise ValueError(
        f"{field}.references: {references} has neither {_IMAGES} (of "
        f"--task=embed) nor images: {error}"
      ) from error


def files_of(references: str) -> tuple[str, ...]:
  """Return the path of the references; nothing for a pattern."""
  # A pattern is no path, though its files change the result too.
  return (references,) if pathlib.Path(references).exists() else ()


def load(
  context: operators.StepContext, model: str, references: str
) -> np.ndarray:
  """Return float16 [R, E] of length 1; images are embedded once.

  Raises:
    ValueError: an image cannot be decoded, a file holds no embeddings, an
      embedding has no direction, or the model embeds no images.
  """
  # Imported here: workers import this module and must not import JAX.
  from curation.on_mesh import scorer

  path = pathlib.Path(references)
  if path.is_dir() and (path / _IMAGES).exists():
    path = path / _IMAGES
  if path.suffix == ".npy":
    return _of_file(path)
  if model.startswith(embedding_store.COLUMNS):
    raise ValueError(
      f"references must be a .npy file of embeddings where the model is "
      f"{model!r}, which embeds no images; got {references}"
    )
  files = image_files.find(references)
  facts = tuple((str(file), operators.file_facts(str(file))) for file in files)
  store = scorer.open_store(context, model)
  stored = store.folder / "references" / f"{record.digest(facts)}.npy"
  store.copy.fetch(stored)
  if stored.exists():
    return _of_file(stored)
  with progress.Progress("Embedding references", len(files)) as bar:

    def images():
      for file in files:
        yield file.read_bytes()
        bar.advance()

    zimg_RE, fault_N = scorer.load(model).images(images(), _BATCH_SIZE)
  for file, fault in zip(files, fault_N.tolist(), strict=True):
    if fault:
      with faults.located(f"references: {file}"):
        image_ops.decode(file.read_bytes())  # raises what is wrong with it
      raise ValueError(f"references: {file}: {fault.decode()}")
  _check_rows(zimg_RE, lambda row: str(files[row]))
  stored.parent.mkdir(parents=True, exist_ok=True)
  embedding_store.save(stored, embedding_store.unit(zimg_RE), store.copy)
  return _of_file(stored)


def check_width(z_RE: np.ndarray, embed_dim: int, references: str) -> None:
  """Raise ValueError for references of another width than the pairs'."""
  if z_RE.shape[1] != embed_dim:
    raise ValueError(
      f"references {references} have embeddings of {z_RE.shape[1]} numbers, "
      f"the pairs of {embed_dim}; expected those of the same model"
    )


def _check_rows(z_RE: np.ndarray, name_of: Callable[[int], str]) -> None:
  """Raise ValueError for an embedding without a direction: it has no cosine."""
  for start in range(0, len(z_RE), _BLOCK):
    problems = embedding_store.problems(z_RE[start : start + _BLOCK])
    for row in np.flatnonzero(problems != "").tolist():
      raise ValueError(
        f"references: the embedding of {name_of(start + row)} {problems[row]}; "
        "take it away, for no image can be compared with it"
      )


def _of_file(path: pathlib.Path) -> np.ndarray:
  z_RE = npy.load(path)
  is_float = z_RE.dtype in (np.float16, np.float32)
  if z_RE.ndim != 2 or not is_float or not z_RE.size:
    raise ValueError(
      f"{path} must hold float16 or float32 [R, E]; got {z_RE.dtype} "
      f"{list(z_RE.shape)}"
    )
  _check_rows(z_RE, lambda row: f"row {row} of {path}")
  unit_RE = np.empty(z_RE.shape, np.float16)
  for start in range(0, len(z_RE), _BLOCK):
    part = slice(start, start + _BLOCK)
    unit_RE[part] = embedding_store.unit(z_RE[part])
  return unit_RE
