"""A folder of prepared data: all there and intact, or not there at all.

  <folder>/<split>.array_record   one file a split, or
  <folder>/<split>-00003-of-00012.array_record   several
  <folder>/<split>.uids.npy       UIDs of the records, where they were written
  <folder>/<split>.image_ids.npy  names of their images, where these may not be
                                  those of the bytes (image_ids.py)
  <folder>/manifest.json          written last; names every file and its digest
  <folder>/tokenizers/            trained later, not part of the manifest

`prepare` writes under a temporary name beside the folder, which is renamed when
it is complete and on disk. A process killed on the way leaves a temporary
folder, which nobody reads and the next preparation deletes.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from input_pipeline import faults
from input_pipeline.sources import array_record, source_config
from input_pipeline.storage import files, patterns
from runtime.storage import remote, unfinished, whole_files

LANGUAGES = None

# Raised when the meaning of a prepared folder changes. 2 names the files of a
# split; in 1 it has one, of its own name.
SCHEMA = 2
_READABLE = (1, 2)

MANIFEST = "manifest.json"


class BrokenError(Exception):
  """A prepared folder is missing, incomplete or not what was written."""


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Content of manifest.json.

  Attributes:
    schema: SCHEMA when it was written.
    splits: name -> number of records.
    languages: languages of all texts.
    versions: versions of the programs that wrote the folder.
    files: name -> [bytes, BLAKE2b digest].
    shards: split -> [file, number of records] of each, in order.
    made_from: what --task=prepare was asked for.
  """

  schema: int
  splits: dict[str, int]
  languages: tuple[str, ...]
  versions: dict[str, str]
  files: dict[str, tuple[int, str]]
  shards: dict[str, list[tuple[str, int]]] = dataclasses.field(
    default_factory=dict
  )
  made_from: dict[str, Any] = dataclasses.field(default_factory=dict)

  def files_of(self, split: str) -> list[tuple[str, int]]:
    """Return (file, number of records) of a split's files, in order."""
    whole = [(f"{split}.array_record", self.splits[split])]
    return self.shards.get(split, whole)


Splits = Mapping[str, list[array_record.Record]]


def splits(
  source: source_config.SourceConfig, context: source_config.SourceContext
) -> tuple[str, ...]:
  """Return the splits of the folder `source.path`; () for a list of files."""
  manifest = _opened(source, context)
  return () if manifest is None else tuple(manifest.splits)


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> array_record.Records:
  """Return the records of a split of a prepared folder, or of files."""
  manifest = _opened(source, context)
  if manifest is None:
    return _open_files(source, split, context)
  if split not in manifest.splits:
    raise ValueError(
      f"{context.field}.split must be one of "
      f"{list(manifest.splits)}; got {split!r}"
    )
  folder = remote.local_path(source.path).rstrip("/")
  return _records(folder, split, manifest)


def records(folder: pathlib.Path, split: str) -> array_record.Records:
  """Return the records of a split of a folder that is complete."""
  manifest = read_manifest(folder, check_digests=False)
  return _records(str(folder), split, manifest)


def _records(
  folder: str, split: str, manifest: Manifest
) -> array_record.Records:
  shards = manifest.files_of(split)

  def beside(name: str) -> str | None:
    return f"{folder}/{name}" if name in manifest.files else None

  return array_record.Records(
    *(f"{folder}/{name}" for name, _ in shards),
    counts=[count for _, count in shards],
    uids_path=beside(f"{split}.uids.npy"),
    image_ids_path=beside(f"{split}.image_ids.npy"),
  )


def _open_files(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> array_record.Records:
  field = context.field
  source_config.check_no_split(source, split, context)
  paths = files.expand(source.path, f"{field}.path")
  try:
    return array_record.Records(*paths)
  except ValueError as error:
    raise ValueError(f"{field}.path: {error}") from error


def _opened(
  source: source_config.SourceConfig, context: source_config.SourceContext
) -> Manifest | None:
  """Return the folder's manifest, None where `path` is a list of files."""
  field = f"{context.field}.path"
  source.refuse(context.field, "image", "caption", "language_field", "uid")
  scheme = remote.scheme(source.path)
  if scheme not in array_record.SCHEMES:
    raise ValueError(
      f"{field}: ArrayRecord is read from disk and gs:// only; got {scheme}://"
      "; copy the files"
    )
  if source.path.endswith(".array_record") or patterns.is_pattern(source.path):
    return None
  try:
    # Sizes only: reading terabytes for their digests would take hours.
    if remote.is_remote(source.path):
      return read_remote_manifest(source.path.rstrip("/"))
    folder = pathlib.Path(remote.local_path(source.path))
    return read_manifest(folder, check_digests=False)
  except BrokenError as error:
    raise ValueError(
      f'{field} must be a prepared folder for format="array_record", or '
      f"*.array_record files: {error}"
    ) from error


def prepare(
  folder: pathlib.Path,
  make_splits: Callable[[], Splits],
  *,
  versions: Mapping[str, str],
) -> None:
  """Make sure that `folder` is complete, writing it if it is not.

  Any number of processes may call this at once: one writes, the others wait.
  Raises OSError, with what to do, when the folder cannot be written.
  """
  with contextlib.suppress(BrokenError):
    read_manifest(folder)
    return
  try:
    with unfinished.turn(folder.parent):
      _prepare_locked(folder, make_splits, versions)
  except OSError as error:
    raise OSError(
      f"cannot write prepared data below {folder.parent}: {error}. "
      "Free some space there, or set data.cache_dir to another folder."
    ) from error


def read_manifest(
  folder: pathlib.Path, *, check_digests: bool = True
) -> Manifest:
  """Return the manifest of a folder whose files are those that it names.

  Sizes are always compared; digests (reading every byte) on request. Raises
  BrokenError with the first difference.
  """
  path = folder / MANIFEST
  try:
    data = path.read_bytes()
  except FileNotFoundError as error:
    raise BrokenError(f"{folder} has no {MANIFEST}") from error
  except OSError as error:
    raise BrokenError(f"{path} is not a manifest: {error!r}") from error
  manifest = _parsed(data, str(path))
  sizes = whole_files.sizes(folder)
  for name, (num_bytes, digest) in manifest.files.items():
    file = folder / name
    got = sizes.get(name, "no file")
    if got != num_bytes:
      raise BrokenError(f"{file}: expected {num_bytes} bytes; got {got}")
    if check_digests and digest_of(file) != digest:
      raise BrokenError(f"{file}: its bytes are not those that were written")
  return manifest


def read_remote_manifest(folder: str) -> Manifest:
  """Return the manifest at a URL; BrokenError where a file's size differs."""
  path = f"{folder}/{MANIFEST}"
  try:
    manifest = _parsed(files.read(path), path)
  except faults.ExampleError as error:
    raise BrokenError(str(error)) from error
  # One listing instead of a request a file.
  found = files.find(f"{folder}/*", folder)
  sizes = {file.path.rpartition("/")[2]: file.size for file in found}
  for name, (num_bytes, _) in manifest.files.items():
    got = sizes.get(name, "no file")
    if got != num_bytes:
      raise BrokenError(
        f"{folder}/{name}: expected {num_bytes} bytes; got {got}"
      )
  return manifest


def _parsed(data: bytes, path: str) -> Manifest:
  try:
    fields = json.loads(data)
    manifest = Manifest(**fields | {"languages": tuple(fields["languages"])})
    names = [*manifest.files]
    for split in manifest.splits:
      names += [name for name, _ in manifest.files_of(split)]
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise BrokenError(f"{path} is not a manifest: {error!r}") from error
  if manifest.schema not in _READABLE:
    raise BrokenError(
      f"{path} has schema {manifest.schema}, this version reads "
      f"{' and '.join(map(str, _READABLE))}"
    )
  for name in names:
    if name not in manifest.files or "/" in name or name == "..":
      raise BrokenError(f"{path} names {name!r}, which is no file of its own")
  return manifest


def _prepare_locked(
  folder: pathlib.Path,
  make_splits: Callable[[], Splits],
  versions: Mapping[str, str],
) -> None:
  try:
    read_manifest(folder)  # written by another process in the meantime
    return
  except BrokenError as error:
    if folder.exists():
      logging.warning("Preparing anew, because %s", error)
  with whole_files.new_folder(folder, replaces=True) as temporary:
    splits = make_splits()
    for name, records in splits.items():
      array_record.write(temporary / f"{name}.array_record", records)
    _write_made(temporary, splits, versions)


def _write_made(
  folder: pathlib.Path, splits: Splits, versions: Mapping[str, str]
) -> None:
  texts = {
    language
    for records in splits.values()
    for record in records
    for language in record.texts
  }
  manifest = Manifest(
    schema=SCHEMA,
    splits={name: len(records) for name, records in splits.items()},
    languages=tuple(sorted(texts)),
    versions=dict(versions),
    files={
      path.name: facts_of(path)
      for path in sorted(folder.glob("*.array_record"))
    },
    shards={
      name: [(f"{name}.array_record", len(records))]
      for name, records in splits.items()
    },
  )
  write_manifest(folder, manifest)


def write_manifest(folder: pathlib.Path, manifest: Manifest) -> None:
  """Write manifest.json, the last file of a folder."""
  text = json.dumps(dataclasses.asdict(manifest), indent=2)
  whole_files.write(folder / MANIFEST, (text + "\n").encode())


def facts_of(path: pathlib.Path) -> tuple[int, str]:
  """Return (bytes, digest) of a file, for `Manifest.files`."""
  return path.stat().st_size, digest_of(path)


def digest_of(path: pathlib.Path) -> str:
  """Return the BLAKE2b digest of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()
