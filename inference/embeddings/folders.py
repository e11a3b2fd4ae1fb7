"""Folders of embeddings of images: ours, and those of clip-retrieval.

images.npy, embed.json                 as --task=embed writes
img_emb/img_emb_N.npy                  as clip-retrieval writes, and as
                                       --task=embed --layout=shards; row k of N
metadata/metadata_N.parquet            has the image of row k of N
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.storage import bucket_path

PATH = "image_path"
CAPTION = "caption"
IMAGES, TEXTS, METADATA = "img_emb", "text_emb", "metadata"
_FLAT, _FACTS = "images.npy", "embed.json"


@dataclasses.dataclass(frozen=True)
class Part:
  """Some rows of a folder.

  Attributes:
    name: file of the embeddings, for messages.
    z_NE: embeddings, not in memory.
    metadata: file of N rows, or the paths of the images.
  """

  name: str
  z_NE: np.ndarray
  metadata: pathlib.Path | Sequence[str]

  def table(self) -> pa.Table:
    """Return what is known of each image; a column is image_path."""
    if not isinstance(self.metadata, pathlib.Path):
      return pa.table({PATH: pa.array(self.metadata, pa.string())})
    return pq.read_table(self.metadata)


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Embeddings of images.

  Attributes:
    parts: rows in order; at least one.
    facts: contents of embed.json; None for a folder by another program.
  """

  parts: Sequence[Part]
  facts: Mapping[str, Any] | None

  @property
  def embed_dim(self) -> int:
    """Size of an embedding."""
    return self.parts[0].z_NE.shape[1]


def read(path: str) -> Embeddings:
  """Open a folder; nothing but its tables' footers is read.

  Raises:
    ValueError: it is no folder of embeddings, or its files do not fit
      together; the message names the file.
  """
  if isinstance(bucket_path.make(path), bucket_path.BucketPath):
    raise ValueError(
      f"--embeddings must be a folder on a disk; got {path}; copy it there"
    )
  folder = pathlib.Path(path).expanduser()
  if (folder / _FLAT).is_file() and (folder / _FACTS).is_file():
    facts = _facts(folder) or {}
    parts = [_part(folder / _FLAT, facts["images"], len(facts["images"]))]
  elif (folder / "removed.npy").exists():
    raise ValueError(
      f"--embeddings={path} is an index with removed pictures, which its shards"
      " still have; index the pictures again"
    )
  elif (folder / IMAGES).is_dir():
    if (folder / ".unfinished").exists():
      raise ValueError(
        f"--embeddings={path} is not whole yet; let --task=embed go on there"
        " until it ends"
      )
    facts, parts = _facts(folder), _numbered(folder)
  else:
    raise ValueError(
      f"--embeddings={path} has no embeddings of images; expected a folder of"
      f" --task=embed with {_FLAT} and {_FACTS}, or one of clip-retrieval with"
      f" {IMAGES}/ and {METADATA}/"
    )
  sizes = {part.z_NE.shape[1] for part in parts}
  if len(sizes) > 1:
    raise ValueError(
      f"--embeddings={path}: embeddings must be of one size; got"
      f" {sorted(sizes)}"
    )
  return Embeddings(parts, facts)


def _facts(folder: pathlib.Path) -> Mapping[str, Any] | None:
  """Return the contents of embed.json; None where there is none."""
  if not (folder / _FACTS).is_file():
    return None
  return json.loads((folder / _FACTS).read_text(encoding="utf-8"))


def _numbered(folder: pathlib.Path) -> list[Part]:
  """Return the parts of a folder of clip-retrieval, by number."""
  numbers = {}
  for file in (folder / IMAGES).iterdir():
    if found := re.fullmatch(rf"{IMAGES}_(\d+)\.npy", file.name):
      numbers[int(found[1])] = file, found[1]
  if not numbers:
    raise ValueError(f"--embeddings={folder} has no {IMAGES}/{IMAGES}_0.npy")
  parts = []
  for _, (file, number) in sorted(numbers.items()):
    metadata = folder / METADATA / f"{METADATA}_{number}.parquet"
    if not metadata.is_file():
      raise ValueError(
        f"--embeddings={folder}: {file.name} has no {METADATA}/{metadata.name},"
        " which names its images"
      )
    footer = pq.read_metadata(metadata)
    names = footer.schema.to_arrow_schema().names
    if PATH not in names:
      raise ValueError(
        f"{metadata} must have a column {PATH}; got {', '.join(names)}"
      )
    parts.append(_part(file, metadata, footer.num_rows))
  return parts


def _part(
  file: pathlib.Path, metadata: pathlib.Path | Sequence[str], num_rows: int
) -> Part:
  try:
    z_NE = np.load(file, mmap_mode="r", allow_pickle=False)
  except ValueError as error:
    raise ValueError(f"{file} is no whole .npy file: {error}") from error
  if z_NE.ndim != 2 or z_NE.dtype not in (np.float16, np.float32):
    raise ValueError(
      f"{file} must be float16 or float32 of 2 dimensions; got {z_NE.dtype}"
      f" {list(z_NE.shape)}"
    )
  if len(z_NE) != num_rows:
    raise ValueError(
      f"{file} has {len(z_NE)} rows, and its list of images {num_rows}: one of"
      " both is not whole"
    )
  return Part(str(file), z_NE, metadata)
