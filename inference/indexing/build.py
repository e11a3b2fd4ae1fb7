"""Building of an index: made, added to, and rows of it marked as removed."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from evaluators import embedding_cache
from inference import model as model_lib
from inference import pictures, python_model
from inference.embeddings import embed, folders
from inference.indexing import (
  approximate_build,
  bucket_copies,
  index_folder,
  thumbnails,
)
from input_pipeline import model_inputs
from runtime import checks, progress, provenance
from runtime.storage import bucket_path, strict_json, unfinished, whole_files

# Rows of a shard that is written.
SHARD_ROWS = 262_144
# Folder in the index's of pictures that are being embedded.
_EMBEDDING = ".embedding"
# Most that the length of an embedding may differ from 1 unnoticed.
_ROUNDING = 1e-3
_NUM_NAMED = 3
# Longest side of a thumbnail, in pixels.
_MOST_SIDE = 1_024


@dataclasses.dataclass(frozen=True)
class Made:
  """Index that was built.

  Attributes:
    manifest: contents of its index.json.
    num_new: rows that were added.
    num_scaled: those of them whose length was not 1.
    notes: lines for the user.
  """

  manifest: index_folder.Manifest
  num_new: int = 0
  num_scaled: int = 0
  notes: Sequence[str] = ()


def run(
  path: str,
  wanted: embed.Wanted,
  *,
  embeddings: str = "",
  remove: str = "",
  approximate_method: str = "",
  queries: str = "",
  target_recall: float | None = None,
  side: int = thumbnails.SIDE,
  as_json: bool = False,
) -> int:
  """Build an index, add to one, or mark pictures as removed; print a line.

  An approximate index is then added to it, if one is asked for.

  Args:
    path: model as `model.load` takes it; "" where embeddings say theirs.
    wanted: pictures to embed, if any; `out` is the folder of the index, new or
      to be changed, and `dtype` that of a new one, "" for float16.
    embeddings: folder of embeddings; "" for none.
    remove: file with the path of a picture on each line; "" for none.
    approximate_method: method of approximate_build.build; "" for none.
    queries, target_recall: as of approximate_build.build.
    side: longest side of the thumbnails of pictures, in pixels; 0 for none.
    as_json: print index.json instead of lines.

  Raises:
    ValueError, OSError: a flag is wrong; the message names it. An index that
      was there is as it was.
    RunError: another process writes there.
  """
  out = str(wanted.out)
  if not out:
    raise ValueError("--out is missing: --out=FOLDER of the index")
  num_changes = sum(map(bool, (wanted.images, embeddings, remove)))
  if num_changes > 1 or not (num_changes or approximate_method):
    raise ValueError(
      "give what to index: --images=GLOB or --embeddings=FOLDER, or what to"
      " leave out of an index, --remove=FILE (one of them); or"
      " --approximate=ivf of an index that is there"
    )
  if approximate_method:
    approximate_build.check(approximate_method, target_recall)
  elif queries or target_recall is not None:
    flag = "--queries" if queries else "--target_recall"
    raise ValueError(f"{flag} needs --approximate, whose recall it is about")
  checks.one_of("--dtype", wanted.dtype, ("", *index_folder.DTYPES))
  checks.between("--thumbnails", side, 0, _MOST_SIDE)
  with _changed(out) as folder:
    if remove:
      made = _removed(folder, pathlib.Path(remove))
    elif num_changes:
      made = _built(folder, path, wanted, embeddings, side)
    elif index_folder.is_index(folder):
      made = Made(index_folder.read(folder).manifest)
    else:
      raise ValueError(
        f"--out={out} has no index for --approximate; give what to index too,"
        " by --images=GLOB or --embeddings=FOLDER"
      )
    if approximate_method:
      made = _approximated(
        *(folder, made, path, approximate_method),
        queries=queries,
        target_recall=target_recall,
      )
  manifest = made.manifest
  if as_json:
    print(strict_json.dumps(dataclasses.asdict(manifest), indent=2))
    return 0
  left = manifest.num_rows - manifest.num_removed
  print(
    f"{out}: {left:,} pictures in {len(manifest.shards)} shards of"
    f" {manifest.dtype}, {manifest.embed_dim} numbers each;"
    f" {made.num_new:,} new, {manifest.num_removed:,} removed"
  )
  for line in (*made.notes, *approximate_build.about(manifest)):
    print(line)
  return 0


@contextlib.contextmanager
def _changed(out: str) -> Iterator[pathlib.Path]:
  """Yield the folder of an index; of one in a bucket, a copy to be uploaded."""
  folder = bucket_path.make(out)
  if not isinstance(folder, bucket_path.BucketPath):
    yield folder.expanduser()
    return
  bucket_path.check(folder, f"--out={out}")
  with bucket_copies.changed(folder, "out") as local:
    yield local


def _approximated(
  folder: pathlib.Path,
  made: Made,
  path: str,
  method: str,
  **values: Any,
) -> Made:
  """Add an approximate index to an index; `values` as of its build."""

  def load() -> python_model.Model:
    named = path or str(made.manifest.model["path"])
    model = python_model.Model.load(named)
    index.check_model(model.digest, named)
    return model

  with unfinished.claim(folder, f"--out={folder}"):
    index = index_folder.read(folder)
    manifest = approximate_build.build(
      index, method=method, model=load, **values
    )
  return dataclasses.replace(made, manifest=manifest)


def _built(
  folder: pathlib.Path,
  path: str,
  wanted: embed.Wanted,
  embeddings: str,
  side: int,
) -> Made:
  """Add pictures or embeddings to the index of a folder, or begin it."""
  images, dtype = wanted.images, wanted.dtype
  if images and not path:
    raise ValueError(
      "give the model: --init_from=PATH of a published one, or --workdir=RUN"
    )
  _before(folder, dtype)  # a refusal makes no folder
  source = None if images else folders.read(embeddings)
  notes: list[str] = []
  small: Iterator[bytes] | None = None
  with unfinished.claim(folder, f"--out={folder}"):
    before = _before(folder, dtype)
    if source is None:
      # In float32: rows are made of length 1 before they are rounded.
      made = embed.write(
        path,
        dataclasses.replace(
          wanted, out=folder / _EMBEDDING, layout=embed.SHARDS, dtype="float32"
        ),
      )
      notes += embed.about_left_out(made)
      source = folders.read(str(made.folder))
      small = _thumbnails(wanted, made, side) if side else None
    model, inputs = _model_of(source, embeddings, path)
    if before is None:
      before = index_folder.Manifest(
        model=model,
        inputs=inputs,
        embed_dim=source.embed_dim,
        dtype=dtype or index_folder.DTYPES[0],
        shards=(),
        num_removed=0,
        versions=provenance.versions("numkong"),
      )
    elif model["digest"] != before.model["digest"]:
      raise ValueError(
        f"--out={folder} is an index of the model {before.model['path']}"
        f" (digest {before.model['digest']}); the new embeddings are of"
        f" {model['path']} ({model['digest']})"
      )
    made_index = _added(folder, before, source, small)
    if images:
      whole_files.delete_folder(folder / _EMBEDDING)
  if made_index.num_scaled:
    notes.append(
      f"{made_index.num_scaled:,} embeddings were not of length 1, and were"
      " scaled to it"
    )
  return dataclasses.replace(made_index, notes=notes)


def _before(folder: pathlib.Path, dtype: str) -> index_folder.Manifest | None:
  """Return the manifest of the index that is there; None for a new one.

  Raises:
    ValueError: the folder holds other files, or --dtype is not the index's.
  """
  if not index_folder.is_index(folder):
    others = {*unfinished.names(folder)} - {
      _EMBEDDING,
      unfinished.LOCK,
      *index_folder.FOLDERS,
    }
    if others:
      raise unfinished.taken(folder, sorted(others), "that is an index")
    return None
  before = index_folder.read(folder).manifest
  if dtype not in ("", before.dtype):
    raise ValueError(
      f'--dtype must be "" or that of the index, {before.dtype}; got {dtype}'
    )
  return before


def _model_of(
  source: folders.Embeddings, embeddings: str, path: str
) -> tuple[dict[str, Any], Mapping[str, Any]]:
  """Return the model of embeddings, and its inputs."""
  facts = source.facts
  if facts is not None and "digest" not in facts:
    raise ValueError(
      f"--embeddings={embeddings}: its embed.json has no digest of the model,"
      " as earlier versions wrote it; embed the images again"
    )
  if facts is not None:
    model = {
      **{name: facts[name] for name in ("family", "step", "digest")},
      "path": facts["model"],
      "is_assumed": False,
    }
    names = ("image_protocol", "tokenizer")
    return model, {name: facts[name] for name in names}
  if not path:
    raise ValueError(
      f"--embeddings={embeddings} does not say what model made it; name it by"
      " --init_from=PATH or --workdir=RUN"
    )
  loaded = model_lib.load(path)
  if loaded.config.embed_dim != source.embed_dim:
    raise ValueError(
      f"--embeddings={embeddings} has {source.embed_dim} numbers a row; {path}"
      f" makes {loaded.config.embed_dim}, and cannot be its model"
    )
  protocol = loaded.make_image_protocol()
  model = {
    "family": loaded.family,
    "step": loaded.step,
    "digest": embedding_cache.model_digest(loaded.config, loaded.params),
    "path": path,
    "is_assumed": True,
  }
  return model, {"image_protocol": model_inputs.protocol_facts(protocol)}


def _added(
  folder: pathlib.Path,
  before: index_folder.Manifest,
  source: folders.Embeddings,
  small: Iterator[bytes] | None,
) -> Made:
  """Write the shards of new rows, and then the manifest that names them.

  `small` yields a thumbnail for each row; None where none are stored.
  """
  if source.embed_dim != before.embed_dim:
    raise ValueError(
      f"--embeddings: rows have {source.embed_dim} numbers; those of the index"
      f" {folder} have {before.embed_dim}"
    )
  num_rows = sum(len(part.z_NE) for part in source.parts)
  number = max((shard.number for shard in before.shards), default=-1)
  shards, num_scaled = [], 0
  with progress.Progress("Indexing embeddings", num_rows) as bar:
    for z_NE, table, name in _cut(source.parts):
      number += 1
      scaled, num = _unit(z_NE, name)
      num_scaled += num
      rows = scaled.astype(before.dtype)
      some = small and itertools.islice(small, len(rows))
      shards.append(index_folder.write_shard(folder, number, rows, table, some))
      bar.advance(len(rows))
  manifest = dataclasses.replace(before, shards=(*before.shards, *shards))
  manifest.write(folder)
  index_folder.delete_others(folder, manifest)
  return Made(manifest, num_new=num_rows, num_scaled=num_scaled)


def _thumbnails(
  wanted: embed.Wanted, made: embed.Made, side: int
) -> Iterator[bytes]:
  """Yield a thumbnail of each picture that was embedded, in their order."""
  found = pictures.find(
    wanted.images, recursive=wanted.recursive, cache_dir=wanted.cache_dir
  )
  left_out = {line["index"] for line in made.left_out}
  kept = [n for n in range(len(found)) if n not in left_out]
  return thumbnails.of_pictures(found, kept, side)


def _cut(
  parts: Sequence[folders.Part],
) -> Iterator[tuple[np.ndarray, pa.Table, str]]:
  """Yield embeddings and tables of at most SHARD_ROWS rows."""
  for part in parts:
    table = part.table()
    for start in range(0, len(part.z_NE), SHARD_ROWS):
      rows = slice(start, start + SHARD_ROWS)
      yield part.z_NE[rows], table.slice(start, SHARD_ROWS), part.name


def _unit(z_NE: np.ndarray, name: str) -> tuple[np.ndarray, int]:
  """Return rows of length 1, float32, and the number of those that were not.

  Raises:
    ValueError: a row is not finite, or 0.
  """
  rows_NE = z_NE.astype(np.float32)
  length_N = np.linalg.norm(rows_NE.astype(np.float64), axis=1)
  wrong = np.flatnonzero(~np.isfinite(length_N) | (length_N == 0))
  if len(wrong):
    raise ValueError(
      f"{name}: {len(wrong)} embeddings are not finite or are 0; the first is"
      f" row {wrong[0]}"
    )
  rows_NE /= length_N[:, None]
  return rows_NE, int((np.abs(length_N - 1) > _ROUNDING).sum())


def _removed(folder: pathlib.Path, file: pathlib.Path) -> Made:
  """Mark the pictures of a list as removed.

  Raises:
    ValueError: the index has no picture of a path.
  """
  wanted = set(embed.read_texts(file, "remove"))
  with contextlib.ExitStack() as stack:
    if index_folder.is_index(folder):
      stack.enter_context(unfinished.claim(folder, f"--out={folder}"))
    index = index_folder.read(folder)
    rows, found, first = [], set(), 0
    for shard in index.manifest.shards:
      paths = index_folder.paths_of(folder, shard)
      for row, path in enumerate(paths, first):
        if path in wanted:
          rows.append(row)
          found.add(path)
      first += shard.num_rows
    if missing := sorted(wanted - found):
      named = ", ".join(missing[:_NUM_NAMED])
      raise ValueError(
        f"--remove={file}: {len(missing)} of {len(wanted)} pictures are not in"
        f" the index, such as {named}; nothing was removed"
      )
    manifest = index_folder.remove(index, np.array(rows, np.int64))
  return Made(manifest)
