"""A folder of prepared data: all there and intact, or not there at all.

  <folder>/<split>.array_record   one file a split
  <folder>/manifest.json          written last; names every file and its digest
  <folder>/tokenizers/            trained later, not part of the manifest

A folder is written under a temporary name beside its place and renamed when
it is complete and on disk. A process killed on the way leaves a temporary
folder, which nobody reads and the next preparation removes.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Mapping

from absl import logging

from input_pipeline import atomic_file, folder_lock
from input_pipeline.sources import array_record, settings

LANGUAGES = None

# Raised when the meaning of a prepared folder changes.
SCHEMA = 1


class BrokenError(Exception):
  """A prepared folder is missing, incomplete or not what was written."""


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What manifest.json says; `files` is name -> [bytes, BLAKE2b digest]."""

  schema: int
  splits: dict[str, int]
  languages: tuple[str, ...]
  versions: dict[str, str]
  files: dict[str, tuple[int, str]]


Splits = Mapping[str, list[array_record.Record]]


def splits(source: settings.Source, place: settings.Place) -> tuple[str, ...]:
  """Return the splits of the folder `source.path`; ValueError if it is none."""
  return tuple(_opened(source, place).splits)


def open_split(
  source: settings.Source, split: str, place: settings.Place
) -> array_record.Records:
  """Return the records of a split of the folder `source.path`."""
  names = splits(source, place)
  if split not in names:
    raise ValueError(
      f"data.sources.{place.name}.split must be one of {list(names)}, got "
      f"{split!r}"
    )
  return records(pathlib.Path(source.path), split)


def records(folder: pathlib.Path, split: str) -> array_record.Records:
  """Return the records of a split of a folder that is complete."""
  return array_record.Records(folder / f"{split}.array_record")


def _opened(source: settings.Source, place: settings.Place) -> "Manifest":
  try:
    # Sizes only: reading terabytes for their digests would take hours.
    return read_manifest(pathlib.Path(source.path), check_digests=False)
  except BrokenError as error:
    raise ValueError(
      f'data.sources.{place.name}.path must be a prepared folder for format="'
      f'array_record": {error}'
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock.hold(folder.parent):
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
  path = folder / "manifest.json"
  try:
    fields = json.loads(path.read_text(encoding="utf-8"))
    manifest = Manifest(**fields | {"languages": tuple(fields["languages"])})
  except FileNotFoundError as error:
    raise BrokenError(f"{folder} has no manifest.json") from error
  except (OSError, ValueError, TypeError, KeyError) as error:
    raise BrokenError(f"{path} is not a manifest: {error!r}") from error
  if manifest.schema != SCHEMA:
    raise BrokenError(
      f"{path} has schema {manifest.schema}, this version reads {SCHEMA}"
    )
  for name, (num_bytes, digest) in manifest.files.items():
    file = folder / name
    got = file.stat().st_size if file.is_file() else "no file"
    if got != num_bytes:
      raise BrokenError(f"{file}: expected {num_bytes} bytes, got {got}")
    if check_digests and _digest(file) != digest:
      raise BrokenError(f"{file}: its bytes are not those that were written")
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
  # Under the lock, nobody else is writing: these were left by a kill.
  for leftover in folder.parent.glob(".*.tmp-*"):
    _remove(leftover)
  temporary = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(8)}")
  try:
    temporary.mkdir()
    splits = make_splits()
    for name, records in splits.items():
      array_record.write(temporary / f"{name}.array_record", records)
    _write_manifest(temporary, splits, versions)
    if folder.exists():
      broken = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(8)}")
      os.rename(folder, broken)
      _remove(broken)
    os.rename(temporary, folder)
  except BaseException:
    _remove(temporary)
    raise
  atomic_file.fsync_folder(folder.parent)


def _write_manifest(
  folder: pathlib.Path, splits: Splits, versions: Mapping[str, str]
) -> None:
  files = sorted(folder.glob("*.array_record"))
  languages = {
    language
    for records in splits.values()
    for record in records
    for language in record.texts
  }
  manifest = Manifest(
    schema=SCHEMA,
    splits={name: len(records) for name, records in splits.items()},
    languages=tuple(sorted(languages)),
    versions=dict(versions),
    files={path.name: (path.stat().st_size, _digest(path)) for path in files},
  )
  text = json.dumps(dataclasses.asdict(manifest), indent=2)
  atomic_file.write(folder / "manifest.json", (text + "\n").encode())


def _digest(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()


def _remove(path: pathlib.Path) -> None:
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path, ignore_errors=True)
  else:
    path.unlink(missing_ok=True)
