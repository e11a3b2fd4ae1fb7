"""Folders of work that may be killed: claimed, resumed, and whole in the end.

One process at a time has the lock in a folder. `claim` refuses a second one,
`turn` lets it wait. Work that takes long lies in a folder of its own until it
is complete (`resumed`), with a key that says what it was begun with: the next
process goes on with the same key and is refused with another (`other_key`).
"""

import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from absl import logging

from runtime import failures, stopping
from runtime.storage import bucket_path, leases, objects, whole_files

LOCK = ".lock"
# Folder in one of a bucket that is not whole yet.
_WRITING = ".writing"
# Names that a message shows.
_NUM_SHOWN = 3


@contextlib.contextmanager
def claim(folder: pathlib.Path, named: str) -> Iterator[str]:
  """Make a folder and lock it; the claim of a killed process is freed.

  On a disk the kernel frees it, in a bucket it expires (leases.py).

  Args:
    folder: to lock.
    named: the flag and its value, for messages.

  Yields:
    Token in the lock's file; see `token`.

  Raises:
    RunError: the folder cannot be written, or another process has it.
  """
  lock = folder / LOCK
  if isinstance(lock, bucket_path.BucketPath):
    with leases.claim(lock, named) as made:
      yield made
    return
  with locked(folder, named) as file:
    made = secrets.token_hex(16)
    file.truncate(0)
    file.write(made)
    file.flush()
    yield made


@contextlib.contextmanager
def locked(folder: pathlib.Path, named: str) -> Iterator[IO[str]]:
  """Make a folder on a disk and lock it; yield the lock's open file.

  A process that inherits the file keeps the lock. Raises as `claim` does.
  """
  with contextlib.ExitStack() as stack:
    try:
      file = stack.enter_context(_lock(folder))
    except BlockingIOError as error:
      raise failures.RunError(
        f"{named} is in use by another run; wait for it, or give another folder"
      ) from error
    except OSError as error:
      raise unwritable(named, error) from error
    yield file


def _lock(folder: pathlib.Path) -> IO[str]:
  """Make a folder on a disk and return its lock's file, locked; OSError."""
  while True:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
      file = stack.enter_context(open(folder / LOCK, "a"))
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      # An owner that failed may have deleted the file after it was opened here.
      with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK)):
          stack.pop_all()
          return file


@contextlib.contextmanager
def shared(
  folder: pathlib.Path,
  named: str,
  inside: Sequence[pathlib.Path] = (),
  process: Mapping[str, Any] | None = None,
) -> Iterator[tuple[int, ...] | None]:
  """Claim a folder for this process and those that it starts.

  Yields files to start them with, whose inheritance keeps the claim where this
  process is killed. Yields None where the folder is claimed. Nothing is
  inherited in a bucket: a process that outlives the claim is known by its own
  ones, and on its machine by itself.

  Args:
    folder: to claim.
    named: name of it, for messages.
    inside: folders that processes of an earlier claim may have claimed.
    process: identity (leases.py) of the last process of an earlier claim.

  Raises:
    RunError: the folder cannot be written.
  """
  if isinstance(folder, bucket_path.BucketPath):
    if _is_held(folder, inside, process):
      yield None
      return
    with contextlib.ExitStack() as stack:
      files: tuple[int, ...] | None = ()
      try:
        stack.enter_context(leases.claim(folder / LOCK, named))
      except leases.HeldError:
        files = None
      yield files
    return
  with contextlib.ExitStack() as stack:
    try:
      files = (stack.enter_context(locked(folder, named)).fileno(),)
    except failures.RunError as error:
      if not isinstance(error.__cause__, BlockingIOError):
        raise
      files = None
    yield files


def is_shared(
  folder: pathlib.Path,
  inside: Sequence[pathlib.Path] = (),
  process: Mapping[str, Any] | None = None,
) -> bool:
  """Return whether `shared` would yield None; writes nothing in a bucket."""
  if isinstance(folder, bucket_path.BucketPath):
    return _is_held(folder, inside, process)
  if not folder.exists():
    return False
  with shared(folder, str(folder)) as files:
    return files is None


def _is_held(
  folder: pathlib.Path,
  inside: Sequence[pathlib.Path],
  process: Mapping[str, Any] | None,
) -> bool:
  return bool(process and leases.is_alive_here(process)) or any(
    leases.is_held(path / LOCK) for path in (folder, *inside)
  )


def token(folder: pathlib.Path) -> str:
  """Return the token of the process that claimed a folder; OSError."""
  lock = folder / LOCK
  if isinstance(lock, bucket_path.BucketPath):
    return leases.token(lock)
  return lock.read_text()


@contextlib.contextmanager
def turn(folder: pathlib.Path) -> Iterator[None]:
  """Make a folder and lock it as `claim` does, but wait where it is locked.

  Files that a kill left half written are deleted.

  Raises:
    OSError: the folder cannot be written.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / LOCK, "a") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      logging.warning("Waiting for another process that prepares %s", folder)
      fcntl.flock(lock, fcntl.LOCK_EX)
    delete_leftovers(folder)
    yield


@contextlib.contextmanager
def resumed(work: pathlib.Path, named: str) -> Iterator[None]:
  """Claim a folder of unfinished work; delete it if all goes well.

  Raises:
    RunError: see `claim`.
  """
  with claim(work, named), stopping.kept():
    delete_leftovers(work)
    yield
  whole_files.delete_folder(work)


@contextlib.contextmanager
def whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a folder beside --out, which takes its name if all goes well.

  No folder of a bucket can be renamed: there, --out itself is yielded, and has
  an object in _WRITING until all is written. One that a kill left is written
  anew.

  Raises:
    RunError: nothing can be written there, or another process writes there.
  """
  if isinstance(out, bucket_path.BucketPath):
    with _whole_in_bucket(out):
      yield out
    return
  with contextlib.ExitStack() as stack:
    try:
      temporary = stack.enter_context(whole_files.new_folder(out))
    except OSError as error:
      raise unwritable(f"--out={out}", error) from error
    yield temporary


@contextlib.contextmanager
def _whole_in_bucket(out: bucket_path.BucketPath) -> Iterator[None]:
  begun = out / _WRITING / "begun"

  def clear() -> None:
    written = (out / name for name in whole_files.sizes(out))
    objects.delete(str(path) for path in written if path.parent != begun.parent)

  is_mine = False
  try:
    with claim(begun.parent, f"--out={out}"):
      is_mine = True
      others = [name for name in names(out) if name != _WRITING]
      # Another process may have completed the folder since `check_free`.
      if others and not begun.exists():
        raise taken(out, others)
      whole_files.write(begun, b"")
      clear()
      try:
        yield
      except BaseException:
        with contextlib.suppress(objects.BucketError):
          clear()
          begun.unlink()
        raise
      begun.unlink()
  finally:
    if is_mine:
      with contextlib.suppress(objects.BucketError):
        whole_files.delete_folder(begun.parent)


def write_whole(out: pathlib.Path, files: Mapping[str, bytes]) -> None:
  """Write the folder --out, unless it has these files already.

  Raises:
    ValueError: it has others.
    RunError: nothing can be written there.
  """
  there = [name for name in names(out) if name != _WRITING]
  if sorted(files) == there and all(
    (out / name).read_bytes() == data for name, data in files.items()
  ):
    whole_files.delete_folder(out / _WRITING)
    return
  check_free(out)
  with whole(out) as folder:
    for name, data in files.items():
      whole_files.write(folder / name, data)


def unwritable(named: str, error: OSError) -> failures.RunError:
  """Return the error of a folder that cannot be written."""
  return failures.RunError(
    f"{named} cannot be written ({error.strerror}); give a folder that you may"
    " write to"
  )


def delete_leftovers(folder: pathlib.Path, *below: str) -> None:
  """Delete files and folders that a kill left half written.

  Nobody else may be writing.

  Args:
    folder: is looked through, not what is below it.
    below: patterns of more folders, below it.
  """
  if isinstance(folder, bucket_path.BucketPath):
    return  # an object is whole or not there
  for pattern in ("", *below):
    for leftover in folder.glob(f"{pattern}/.*.tmp-*".lstrip("/")):
      if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
      else:
        leftover.unlink(missing_ok=True)


def names(out: pathlib.Path) -> list[str]:
  """Return what is in the folder --out; nothing where it is not there.

  Raises:
    ValueError: it is a file.
  """
  if out.exists() and not out.is_dir():
    raise ValueError(f"--out={out} must be a folder, not a file")
  return sorted(path.name for path in out.iterdir()) if out.exists() else []


def check_free(out: pathlib.Path) -> None:
  """Raise ValueError unless the folder --out is new or empty."""
  others = names(out)
  # The rest is of a process that was killed; see `whole`.
  if others and _WRITING not in others:
    raise taken(out, others)


def taken(out: pathlib.Path, others: list[str], or_one: str = "") -> ValueError:
  """Return the error of a folder --out that has something in the way.

  Args:
    out: the folder.
    others: names in it.
    or_one: "that ...", a folder that could be taken beside a new one.
  """
  return ValueError(
    f"--out={out} must be a new or empty folder"
    + (f", or one {or_one}" if or_one else "")
    + f"; it has {', '.join(others[:_NUM_SHOWN])}"
  )


def change(name: str, was: Any, now: Any) -> str:
  """Return a line for `other_key` about a field that had another value."""
  return f"{name}: {was!r} in the folder, {now!r} now"


def changes(
  was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[str]:
  """Return a line for each field of `now` that had another value.

  Args:
    was: fields that a folder was begun with.
    now: all that must be the same.
    prefix: prefix of the fields' names.
  """
  return [
    change(f"{prefix}{name}", was.get(name), value)
    for name, value in now.items()
    if was.get(name) != value
  ]


def other_key(named: str, holds: str, changed: list[str]) -> failures.RunError:
  """Return the error of a folder that was begun with another key.

  Args:
    named: the flag and its value.
    holds: contents of the folder, and what to do.
    changed: a line for each difference.
  """
  lines = "".join(f"\n  {line}" for line in changed)
  return failures.RunError(
    f"{named} holds {holds}, or give another folder:{lines}"
  )
