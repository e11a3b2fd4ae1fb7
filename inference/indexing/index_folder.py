"""Folder of an index: embeddings of pictures, and what they mean.

  index.json                    manifest; written last, so that a folder with
                                it is whole
  img_emb/img_emb_N.npy         shards: float16 or float32 [n, E], of length 1
  metadata/metadata_N.parquet   row k: image_path, and more, of row k of shard N
  thumbnails/thumbnails_N.*     small pictures of shard N, where they were made;
                                see thumbnails.py
  removed.npy                   int64: rows that no search returns, the last
                                removed last
  approximate/                  an approximate index, if there is one; see
                                approximate.py

Shards and tables are laid out as clip-retrieval has them. Rows are counted
through all shards.
"""

import bisect
import dataclasses
import functools
import io
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inference.embeddings import folders
from inference.indexing import bucket_copies, centring, exact, thumbnails
from runtime.storage import bucket_path, strict_json, whole_files

MANIFEST = "index.json"
REMOVED = "removed.npy"
VERSION = 1
DTYPES = ("float16", "float32")
FOLDERS = (folders.IMAGES, folders.METADATA, thumbnails.FOLDER)
# Rows of a group of a table; a result reads one group.
GROUP_ROWS = 4_096
# Groups that an opened index keeps: some 300 kB each, of paths.
_KEPT_GROUPS = 64


@dataclasses.dataclass(frozen=True)
class Shard:
  """Shard of an index.

  Attributes:
    number: N of the names of its files.
    num_rows: rows.
    num_bytes: size of the file of embeddings.
    thumbnail_bytes: size of the file of thumbnails; None where none were made.
  """

  number: int
  num_rows: int
  num_bytes: int
  thumbnail_bytes: int | None = None

  def paths(self, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the files of embeddings and of metadata."""
    images, metadata = folders.IMAGES, folders.METADATA
    return (
      folder / images / f"{images}_{self.number}.npy",
      folder / metadata / f"{metadata}_{self.number}.parquet",
    )


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Contents of index.json.

  Attributes:
    model: path, family, step and digest of the model of all rows; whether the
      digest is that of the model which the user named, beside embeddings that
      do not say what made them (`is_assumed`).
    inputs: image protocol and tokenizer of the model.
    embed_dim: size of an embedding.
    dtype: of DTYPES.
    shards: in order.
    num_removed: rows that no search returns.
    versions: packages that wrote the index.
    metric: measure of the scores.
    approximate: fields of approximate.Facts; None without such an index.
    version: VERSION.
  """

  model: Mapping[str, Any]
  inputs: Mapping[str, Any]
  embed_dim: int
  dtype: str
  shards: tuple[Shard, ...]
  num_removed: int
  versions: Mapping[str, str]
  metric: str = "cosine"
  approximate: Mapping[str, Any] | None = None
  version: int = VERSION

  @property
  def num_rows(self) -> int:
    """Rows of all shards, those that are removed too."""
    return sum(shard.num_rows for shard in self.shards)

  def write(self, folder: pathlib.Path) -> None:
    """Write index.json, whole or not at all."""
    values = dataclasses.asdict(self) | {"num_rows": self.num_rows}
    text = strict_json.dumps(values, indent=2, ensure_ascii=False)
    whole_files.write(folder / MANIFEST, f"{text}\n".encode())


@dataclasses.dataclass(frozen=True)
class Index:
  """Opened index; embeddings stay on the disk.

  Attributes:
    folder: folder of the index.
    manifest: contents of index.json.
    shards: embeddings of each shard.
    removed: sorted rows that no search returns.
    thumbnails: those of each shard; None for a shard without.
  """

  folder: pathlib.Path
  manifest: Manifest
  shards: Sequence[np.ndarray]
  removed: np.ndarray
  thumbnails: Sequence[thumbnails.Thumbnails | None]

  def __len__(self) -> int:
    """Return the number of rows that a search may return."""
    return self.manifest.num_rows - len(self.removed)

  def search(
    self,
    query_QE: np.ndarray,
    num: int,
    *,
    centre: centring.Centre | None = None,
  ) -> exact.Found:
    """Return the nearest rows of each query; see exact.search."""
    return exact.search(
      *(self.shards, query_QE, num), removed=self.removed, centre=centre
    )

  def embeddings(self, row_N: np.ndarray) -> np.ndarray:
    """Return embeddings of rows: [N, E] in the index's dtype."""
    return exact.rows_of(self.shards, row_N)

  def entries(self, row_N: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    """Return what is known of rows: image_path, and more."""
    return [self._entry(*self._place(row)) for row in row_N]

  def thumbnail(self, row: int) -> bytes | None:
    """Return a small picture of a row, as thumbnails.MEDIA_TYPE, if any."""
    shard, at = self._place(row)
    made = self.thumbnails[shard]
    return None if made is None else made.of(at)

  def _place(self, row: int) -> tuple[int, int]:
    """Return the shard of a row, and its position there."""
    at = bisect.bisect_right(self._starts, row) - 1
    return at, int(row) - self._starts[at]

  def _entry(self, shard: int, row: int) -> dict[str, Any]:
    starts = self._group_starts[shard]
    group = bisect.bisect_right(starts, row) - 1
    columns = self._groups(shard, group)
    # Single values: a slice of the table takes ten times as long.
    at = row - starts[group]
    return {name: column[at].as_py() for name, column in columns.items()}

  @functools.cached_property
  def _starts(self) -> list[int]:
    """Return the first row of each shard."""
    counts = [shard.num_rows for shard in self.manifest.shards]
    return [*itertools.accumulate(counts, initial=0)][: len(counts)]

  @functools.cached_property
  def _group_starts(self) -> list[list[int]]:
    """Return the first row of each group of each shard's table."""
    made = []
    for file in self._tables:
      groups = range(file.num_row_groups)
      counts = [file.metadata.row_group(x).num_rows for x in groups]
      made.append([*itertools.accumulate(counts, initial=0)][: len(counts)])
    return made

  @functools.cached_property
  def _groups(self) -> Callable[[int, int], dict[str, pa.Array]]:
    """Return the function of shard and group to columns, the last ones kept.

    A group takes milliseconds to read, as long as a search takes.
    """

    def read(shard: int, group: int) -> dict[str, pa.Array]:
      table = self._tables[shard].read_row_group(group).combine_chunks()
      return {name: table.column(name).chunk(0) for name in table.column_names}

    return functools.lru_cache(maxsize=_KEPT_GROUPS)(read)

  @functools.cached_property
  def _tables(self) -> list[pq.ParquetFile]:
    paths = [x.paths(self.folder)[1] for x in self.manifest.shards]
    return [pq.ParquetFile(path) for path in paths]

  def check_model(self, digest: str, path: str) -> None:
    """Raise ValueError where a query would be by another model.

    Args:
      digest: digest of the query's model.
      path: path of that model, for the message.
    """
    model = self.manifest.model
    if digest != model["digest"]:
      raise ValueError(
        f"--index={self.folder} was built by the model {model['path']} (digest"
        f" {model['digest']}); the query's model, {path}, has the digest"
        f" {digest}, and its embeddings cannot be compared with the index"
      )


def on_disk(path: str | pathlib.Path, flag: str) -> pathlib.Path:
  """Return the folder of a flag; for one in a bucket, its copy on this disk.

  Raises:
    ValueError, OSError: the bucket cannot be read.
  """
  folder = bucket_path.make(path)
  if isinstance(folder, bucket_path.BucketPath):
    bucket_path.check(folder, f"--{flag}={path}")
    return bucket_copies.copied(folder, flag)
  return folder.expanduser()


def is_index(folder: pathlib.Path) -> bool:
  """Return whether a folder is a whole index."""
  return (folder / MANIFEST).is_file()


def read(path: str | pathlib.Path) -> Index:
  """Open an index.

  Raises:
    ValueError: it is no whole index; the message names the file at fault.
  """
  folder = on_disk(path, "index")
  if not is_index(folder):
    raise ValueError(
      f"--index={path} is no whole index: it has no {MANIFEST}; build one with"
      " --task=index --out=FOLDER"
    )
  manifest = _manifest(folder / MANIFEST)
  shards = [_opened(shard, folder, manifest) for shard in manifest.shards]
  small = [_thumbnails(shard, folder) for shard in manifest.shards]
  removed = np.zeros(0, np.int64)
  if manifest.num_removed:
    data = (folder / REMOVED).read_bytes()
    removed = np.load(io.BytesIO(data), allow_pickle=False)
    # Rows are added at the end, before the manifest counts them.
    removed = np.sort(removed[: manifest.num_removed])
  return Index(folder, manifest, shards, removed, small)


def write_shard(
  folder: pathlib.Path,
  number: int,
  z_NE: np.ndarray,
  table: pa.Table,
  small: Iterable[bytes] | None = None,
) -> Shard:
  """Write the files of a shard; the manifest does not name it yet.

  Args:
    folder: folder of the index.
    number: N of the names of its files.
    z_NE: embeddings in the index's dtype.
    table: N rows about the images.
    small: N thumbnails, b"" for a row without; None where none are stored.
  """
  shard = Shard(number, len(z_NE), 0)
  images, metadata = shard.paths(folder)
  for file in (images, metadata):
    file.parent.mkdir(exist_ok=True)
  with whole_files.replacing(images) as file:
    np.save(file, z_NE)
  with whole_files.replacing(metadata) as file:
    pq.write_table(table, file, row_group_size=GROUP_ROWS)
  stored = None if small is None else thumbnails.write(folder, number, small)
  return dataclasses.replace(
    shard, num_bytes=images.stat().st_size, thumbnail_bytes=stored
  )


def paths_of(folder: pathlib.Path, shard: Shard) -> list[str]:
  """Return the path of the picture of each row of a shard."""
  table = pq.read_table(shard.paths(folder)[1], columns=[folders.PATH])
  return table.column(folders.PATH).to_pylist()


def remove(index: Index, row_N: np.ndarray) -> Manifest:
  """Mark rows as removed, for all who open the index from now on."""
  new = np.setdiff1d(row_N, index.removed)
  # Without the rows of a removal that was killed before its manifest.
  all_rows = np.concatenate([index.removed, new])
  with whole_files.replacing(index.folder / REMOVED) as file:
    np.save(file, all_rows)
  manifest = dataclasses.replace(index.manifest, num_removed=len(all_rows))
  manifest.write(index.folder)
  return manifest


def delete_others(folder: pathlib.Path, manifest: Manifest) -> None:
  """Delete shards that no manifest names, which a killed process left."""
  kept = {path for x in manifest.shards for path in x.paths(folder)}
  for shard in manifest.shards:
    if shard.thumbnail_bytes is not None:
      kept.update(thumbnails.paths(folder, shard.number))
  for name in FOLDERS:
    for file in (folder / name).glob("*"):
      if file not in kept:
        file.unlink()


def _manifest(path: pathlib.Path) -> Manifest:
  try:
    values = json.loads(path.read_text(encoding="utf-8"))
    if values.pop("version") != VERSION:
      raise ValueError(f"its version is not {VERSION}")
    values.pop("num_rows")
    shards = tuple(Shard(**shard) for shard in values.pop("shards"))
    return Manifest(shards=shards, **values)
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(
      f"{path} is no manifest that this version reads: {error}"
    ) from error


def _opened(
  shard: Shard, folder: pathlib.Path, manifest: Manifest
) -> np.ndarray:
  """Return a shard's embeddings, on the disk; ValueError if it is torn."""
  images, metadata = shard.paths(folder)
  try:
    size = images.stat().st_size
    if size != shard.num_bytes:
      raise ValueError(f"it has {size} bytes, not {shard.num_bytes}")
    z_NE = np.load(images, mmap_mode="r", allow_pickle=False)
    expected = (shard.num_rows, manifest.embed_dim), manifest.dtype
    if (z_NE.shape, z_NE.dtype.name) != expected:
      raise ValueError(f"it is {z_NE.dtype} {z_NE.shape}, not {expected}")
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{images} is not the shard that was built: {error}; build the index"
      " again, or restore the file"
    ) from error
  try:
    num_rows = pq.read_metadata(metadata).num_rows
  except (OSError, pa.ArrowInvalid) as error:
    raise ValueError(f"{metadata} cannot be read: {error}") from error
  if num_rows != shard.num_rows:
    raise ValueError(
      f"{metadata} has {num_rows} rows, and its shard {shard.num_rows}"
    )
  return z_NE


def _thumbnails(
  shard: Shard, folder: pathlib.Path
) -> thumbnails.Thumbnails | None:
  if shard.thumbnail_bytes is None:
    return None
  return thumbnails.Thumbnails.read(
    *(folder, shard.number, shard.num_rows, shard.thumbnail_bytes)
  )
