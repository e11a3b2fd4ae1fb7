"""Copies on this disk of indices in a bucket, whose files a search maps.

cache/indices/DIGEST/              copy of the index at one address, to search
cache/indices/DIGEST-changing/     copy that changes are made to
.copied.json in each               for each file, the version of its object, and
                                   size and time of change on this disk

A copy is brought up to date, file by file, when its index is opened or changed.
A change is made to the copy, and then uploaded, the manifest last; one that was
killed in between is undone on the disk and made again.
"""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Iterator

from absl import logging

from input_pipeline.storage import files
from runtime.storage import bucket_path, objects, unfinished, whole_files

_FOLDER = pathlib.Path("cache/indices")
_COPIED = ".copied.json"
_MANIFEST = "index.json"
# Folders that an upload which was killed leaves without a manifest.
_PARTS = ("img_emb", "metadata", "thumbnails", "approximate")
# Times that an index may change while it is copied.
_TRIES = 5

# Version of an object, and size and time of change of its copy.
Known = dict[str, tuple[str, int, int]]


def copied(folder: bucket_path.BucketPath, flag: str) -> pathlib.Path:
  """Return a folder of this disk that is the index at an address.

  Args:
    folder: address; there need not be an index.
    flag: name of the flag, for messages.

  Raises:
    ValueError, OSError: the bucket does not answer, or the index changed each
      time that it was copied.
  """
  local = _local(folder)
  # Processes of this machine that search it bring one copy up to date in turn.
  with unfinished.turn(local):
    _bring_up_to_date(local, folder, flag)
  return local


def _bring_up_to_date(
  local: pathlib.Path, folder: bucket_path.BucketPath, flag: str
) -> None:
  """Make a copy equal to the index; raises as `copied` does."""
  for _ in range(_TRIES):
    found = _objects(folder, flag)
    known = _known(local)
    kept = {
      name: facts
      for name, facts in known.items()
      if name in found and facts == (found[name].version, *_facts(local / name))
    }
    for path in _files(local):
      if path.relative_to(local).as_posix() not in kept:
        path.unlink()
    missing = sorted(found.keys() - kept.keys(), key=lambda x: x == _MANIFEST)
    if missing:
      size = sum(found[name].size for name in missing)
      logging.info("Copying %.1f MB of %s to %s", size / 1e6, folder, local)
    for name in missing:
      (local / name).parent.mkdir(parents=True, exist_ok=True)
    objects.download((found[name].path, str(local / name)) for name in missing)
    _write_known(local, found)
    if _versions(_objects(folder, flag)) == _versions(found):
      return
  raise ValueError(
    f"--{flag}={folder} changed each of {_TRIES} times that it was copied to"
    " this disk; try again when nobody adds to it"
  )


@contextlib.contextmanager
def changed(
  folder: bucket_path.BucketPath, flag: str
) -> Iterator[pathlib.Path]:
  """Claim the index at an address; yield a copy whose changes are uploaded.

  Nothing is uploaded after an exception.

  Raises:
    RunError: another process has the claim.
    ValueError, OSError: see `copied`.
  """
  with unfinished.claim(folder, f"--{flag}={folder}"):
    if not (folder / _MANIFEST).is_file():
      others = {*unfinished.names(folder)} - {unfinished.LOCK, *_PARTS}
      if others:
        raise unfinished.taken(folder, sorted(others), "that is an index")
    # Not the copy that others search, whose next search would undo changes.
    local = _local(folder, "-changing")
    _bring_up_to_date(local, folder, flag)
    yield local
    known = _known(local)
    now = {path.relative_to(local).as_posix() for path in _files(local)}
    new = [
      name
      for name in now
      if name not in known or known[name][1:] != _facts(local / name)
    ]
    pairs = [(str(local / name), str(folder / name)) for name in sorted(new)]
    objects.upload(pair for pair in pairs if not pair[0].endswith(_MANIFEST))
    objects.upload(pair for pair in pairs if pair[0].endswith(_MANIFEST))
    found = _objects(folder, flag)
    objects.delete(found[name].path for name in found.keys() - now)
    _write_known(local, {x: file for x, file in found.items() if x in now})


def _local(folder: bucket_path.BucketPath, ending: str = "") -> pathlib.Path:
  address = str(folder).rstrip("/").encode()
  name = hashlib.blake2b(address, digest_size=8).hexdigest()
  local = _FOLDER / f"{name}{ending}"
  local.mkdir(parents=True, exist_ok=True)
  return local


def _objects(
  folder: bucket_path.BucketPath, flag: str
) -> dict[str, files.File]:
  """Return the files of an index by name; none where there is no index."""
  if not (folder / _MANIFEST).is_file():
    return {}
  start = len(str(folder).rstrip("/")) + 1
  listed = files.find(f"{str(folder).rstrip('/')}/**", f"--{flag}")
  named = {file.path[start:]: file for file in listed}
  return {name: file for name, file in named.items() if not _is_hidden(name)}


def _is_hidden(name: str) -> bool:
  return any(part.startswith(".") for part in name.split("/"))


def _files(local: pathlib.Path) -> list[pathlib.Path]:
  """Return the files of a copy, but those of work that goes on."""
  return [
    path
    for path in local.rglob("*")
    if path.is_file() and not _is_hidden(path.relative_to(local).as_posix())
  ]


def _facts(path: pathlib.Path) -> tuple[int, int]:
  status = path.stat() if path.is_file() else None
  return (status.st_size, status.st_mtime_ns) if status else (-1, -1)


def _versions(found: dict[str, files.File]) -> dict[str, str]:
  return {name: file.version for name, file in found.items()}


def _known(local: pathlib.Path) -> Known:
  path = local / _COPIED
  if not path.is_file():
    return {}
  read = json.loads(path.read_text())
  return {name: (facts[0], facts[1], facts[2]) for name, facts in read.items()}


def _write_known(local: pathlib.Path, found: dict[str, files.File]) -> None:
  known = {
    name: (file.version, *_facts(local / name)) for name, file in found.items()
  }
  whole_files.write(local / _COPIED, json.dumps(known).encode())
