"""Files that sources read: on disk, or at a URL that fsspec supports.

A path is local, or a URL: file://, gs://, s3://, https://, memory://. Ranges of
bytes are read, from any thread and any process, forked or not. A remote read is
tried several times and then fails: a server that never answers must not stop a
run. A read from a disk that hangs does not time out.
"""

import concurrent.futures
import dataclasses
import functools
import io
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import fsspec

from input_pipeline import clocks, faults
from input_pipeline.storage import patterns, range_file, web
from runtime.storage import remote

# Timeout of one try of a remote read. An example is below 10 MB, and a
# connection below 0.5 MB/s is useless; object stores answer within a second.
# Together with WAITS a read ends within about 70 s.
TRY_SECONDS = 20.0
# Seconds between tries, growing so that an overloaded server can recover.
WAITS = (0.5, 2.0)
# Timeout of one listing, or of the facts of one remote file: a listing of
# 100,000 objects is 100 requests, one after the other.
_LIST_SECONDS = 120.0
# Concurrent requests for the facts of remote files that were listed by braces.
_NUM_REQUESTS = 32
# Most open files here, below the 1,024 of a process in a Linux shell, since
# other parts of the program open files too.
_NUM_DESCRIPTORS = 256
# Keys of a remote file's facts that identify its version, best first.
_VERSIONS = (
  *("generation", "etag", "ETag", "mtime"),
  *("LastModified", "last_modified", "updated", "created", "Last-Modified"),
)


@dataclasses.dataclass(frozen=True)
class File:
  """A file, its size and its version.

  Attributes:
    path: local path, or a URL.
    size: size in bytes.
    version: text that changes with the content (time of change, ETag); "" if
      unknown.
  """

  path: str
  size: int
  version: str


def expand(pattern: str, field: str) -> list[str]:
  """Return the paths of the files that `find` returns."""
  return [file.path for file in find(pattern, field)]


def find(pattern: str, field: str) -> list[File]:
  """Return the files of a pattern with {000..123}, {a,b} and * in it.

  A path that exists is that path; see patterns.py. Files are in the order of
  the braces, then by name. Raises, naming `field`: ValueError if no file
  matches, or a file listed by braces is missing, a folder or listed twice;
  ModuleNotFoundError for a missing package; OSError.
  """
  if not pattern:
    raise ValueError(f"{field} must name files; got ''")
  if pattern.startswith("pipe:"):
    raise ValueError(
      f"{field} must be paths or URLs such as s3://, of which parts can be "
      f"read; got a command, which is never run: {pattern!r}"
    )
  if "::" in pattern and not os.path.exists(remote.local_path(pattern)):
    raise ValueError(
      f"{field} must be one pattern; got {pattern!r}; for several, use "
      "several sources in data.sources"
    )
  try:
    try:
      expanded = patterns.expand(pattern)
    except ValueError as error:
      raise ValueError(f"{field}: {error}") from error
    files = _find(expanded, field)
  except TimeoutError as error:
    raise TimeoutError(
      f"{field}: no answer within {_LIST_SECONDS:.0f} s for {pattern}"
    ) from error
  if not files:
    raise ValueError(_no_match(pattern, field))
  seen: set[str] = set()
  for file in files:
    if file.path in seen:
      raise ValueError(f"{field} names {file.path} twice: {pattern}")
    seen.add(file.path)
  return files


def check_local(pattern: str, field: str) -> None:
  """Raise ValueError if a pattern is of this disk and matches nothing there.

  An empty pattern and a URL are not looked up.
  """
  local = remote.local_path(pattern)
  if not pattern or remote.is_remote(local) or pattern.startswith("pipe:"):
    return
  if os.path.exists(local) or "::" in pattern:
    return
  try:
    expanded = patterns.expand(pattern)
  except ValueError as error:
    raise ValueError(f"{field}: {error}") from error
  if not any(map(patterns.local_paths, expanded)):
    raise ValueError(_no_match(pattern, field))


def facts(path: str) -> File:
  """Return the present facts of one file; FileNotFoundError, OSError."""
  # The name may belong to another file than the one kept open.
  _descriptor.cache_clear()
  path = remote.local_path(path)
  if not remote.is_remote(path):
    return _local_facts(path)
  fs, name = remote.file_system(path)
  fs.invalidate_cache()
  return _remote_facts(fs, name, _info(fs, name))


def remote_facts(paths: Sequence[str]) -> list[File]:
  """Return the facts of those files that are at a URL, in their order.

  Raises as `facts`.
  """
  urls = [path for path in paths if remote.is_remote(path)]
  with concurrent.futures.ThreadPoolExecutor(_NUM_REQUESTS) as pool:
    return list(pool.map(facts, urls))


def read_range(
  path: str,
  start: int,
  stop: int,
  *,
  try_seconds: float = TRY_SECONDS,
  waits: Sequence[float] = WAITS,
) -> bytes:
  """Return the bytes from `start` up to `stop`, all of them.

  Raises faults.ExampleError: "file_missing", "shard_short", "read_failed".
  """
  clocks.about(path)  # named in the message about a stall
  if not remote.is_remote(path):
    data = _read_local(remote.local_path(path), start, stop)
  else:
    data = _read_remote(path, start, stop, try_seconds, waits)
  if len(data) > stop - start:
    raise faults.ExampleError(
      "read_failed", f"{path}: its server gives no parts of files"
    )
  if len(data) < stop - start:
    raise faults.ExampleError(
      "shard_short",
      f"{path}: expected bytes up to {stop}, it ends at {start + len(data)}",
    )
  return data


def read(path: str) -> bytes:
  """Return a whole file.

  Raises faults.ExampleError: "file_missing", "read_failed"; of a URL,
  ModuleNotFoundError for a package that is not installed.
  """
  if remote.is_remote(path):
    return _read_remote(path, 0, None, TRY_SECONDS, WAITS)
  path = remote.local_path(path)
  try:
    with open(path, "rb") as file:
      return file.read()
  except FileNotFoundError as error:
    raise faults.ExampleError("file_missing", f"there is no {path}") from error
  except OSError as error:
    raise faults.ExampleError("read_failed", f"{path}: {error}") from error


def open_file(path: str) -> BinaryIO:
  """Return a seekable file; reads of a URL are those of `read_range`."""
  path = remote.local_path(path)
  if not remote.is_remote(path):
    return open(path, "rb")
  # Footers and headers are read in pieces; the buffer joins them to one
  # request.
  file = facts(path)
  parts = range_file.RangeFile(
    file.size, functools.partial(read_range, file.path)
  )
  return io.BufferedReader(parts, buffer_size=1 << 20)


class _Descriptor:
  """An open file, closed when no thread holds it any more."""

  def __init__(self, path: str):
    self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

  def __del__(self):
    if hasattr(self, "number"):
      os.close(self.number)


# Safe across forks: pread has no position that processes could share, and this
# cache no lock that a fork could copy while held.
@functools.lru_cache(maxsize=_NUM_DESCRIPTORS)
def _descriptor(path: str) -> _Descriptor:
  return _Descriptor(path)


def _read_local(path: str, start: int, stop: int) -> bytes:
  try:
    try:
      return _pread(path, start, stop)
    except OSError:
      # On a network disk, the descriptor of a replaced file is stale.
      _descriptor.cache_clear()
      return _pread(path, start, stop)
  except FileNotFoundError as error:
    raise faults.ExampleError("file_missing", f"{path} is gone") from error
  except OSError as error:
    raise faults.ExampleError("read_failed", f"{path}: {error}") from error


def _pread(path: str, start: int, stop: int) -> bytes:
  descriptor = _descriptor(path)
  data = os.pread(descriptor.number, stop - start, start)
  # The kernel returns at most 2 GiB at once, and less after a signal.
  while data and len(data) < stop - start:
    more = os.pread(
      descriptor.number, stop - start - len(data), start + len(data)
    )
    if not more:
      break
    data += more
  return data


def _read_remote(
  path: str,
  start: int,
  stop: int | None,
  seconds: float,
  waits: Sequence[float],
) -> bytes:
  if start == stop:
    return b""  # S3 cannot express an empty range
  for wait in (*waits, None):
    try:
      # One file system for each process and thread, cached by fsspec.
      fs, name = remote.file_system(path)
      if remote.scheme(path) in web.SCHEMES:
        return web.read(fs, name, (start, stop), seconds)
      return remote.call(
        fs, "cat_file", name, start=start, end=stop, seconds=seconds
      )
    except FileNotFoundError as error:
      raise faults.ExampleError("file_missing", f"{path} is gone") from error
    except ModuleNotFoundError:
      raise  # of no example alone, and no later try has it
    except Exception as error:  # each fsspec package has its own
      if wait is None or _is_refused(error):
        raise _failure(path, start, stop, error, seconds) from error
    time.sleep(wait)
  raise AssertionError


def _is_refused(error: Exception) -> bool:
  """Return whether a store knows a reader, or nobody, who may not read."""
  # gcsfs has an OSError for it, by its text alone.
  return isinstance(error, PermissionError) or (
    isinstance(error, OSError) and str(error).startswith("Forbidden:")
  )


def _failure(
  path: str, start: int, stop: int | None, error: Exception, seconds: float
) -> faults.ExampleError:
  """Return the fault of the last try of a read."""
  # gcsfs's have several lines.
  reason = " ".join(f"{type(error).__name__}: {error}".split())
  if isinstance(error, TimeoutError):
    reason = f"no answer within {seconds:g} s"
  elif stop is not None:
    # A range that begins after the end of an object is refused as a whole.
    try:
      fs, name = remote.file_system(path)
      fs.invalidate_cache()
      size = remote.call(fs, "info", name, seconds=seconds)["size"]
    except Exception:
      size = stop
    if size < stop:
      return faults.ExampleError(
        "shard_short", f"{path}: expected bytes up to {stop}, it has {size}"
      )
  return faults.ExampleError(
    "read_failed", f"{path}, bytes {start} to {stop or 'end'}: {reason}"
  )


def _no_match(pattern: str, field: str) -> str:
  return f"{field} matches no file: {pattern}{patterns.advice(pattern)}"


def _find(expanded: Sequence[patterns.Pattern], field: str) -> list[File]:
  """Return the files of patterns; ValueError for missing files."""
  _descriptor.cache_clear()
  web.copy.cache_clear()
  with concurrent.futures.ThreadPoolExecutor(_NUM_REQUESTS) as pool:
    looks = [_look(pattern, field) for pattern in expanded]
    # Looking up local files takes less time than starting threads.
    is_remote = any(remote.is_remote(pattern.path) for pattern in expanded)
    run = pool.map if is_remote else map
    groups = list(run(lambda look: look(), looks))
  missing = [
    pattern.path
    for pattern, group in zip(expanded, groups, strict=True)
    if not group and not pattern.is_glob
  ]
  if missing:
    raise ValueError(
      f"{field} lists {len(expanded)} files, of which {len(missing)} are not "
      f"there, first {missing[0]}"
    )
  return [file for group in groups for file in group]


def _look(pattern: patterns.Pattern, field: str) -> Callable[[], list[File]]:
  """Return a function that finds the files of a pattern, or none."""
  if not remote.is_remote(pattern.path):
    return functools.partial(_look_local, pattern, field)
  try:
    fs, name = remote.file_system(pattern.path)
  except (ImportError, ValueError) as error:
    raise type(error)(f"{field}: {pattern.path}: {error}") from error
  # In this thread, as a thread of the pool would get its own file system.
  fs.invalidate_cache()
  return functools.partial(_look_remote, pattern, field, fs, name)


def _look_local(pattern: patterns.Pattern, field: str) -> list[File]:
  paths = patterns.local_paths(pattern)
  if pattern.is_glob:
    return [_local_facts(path) for path in paths if not os.path.isdir(path)]
  for path in paths:
    if os.path.isdir(path):
      raise ValueError(_folder_message(path, field))
  return [_local_facts(path) for path in paths]


def _look_remote(
  pattern: patterns.Pattern,
  field: str,
  fs: fsspec.AbstractFileSystem,
  name: str,
) -> list[File]:
  try:
    if pattern.is_glob:
      infos = patterns.remote_infos(pattern, fs, _LIST_SECONDS)
    else:
      infos = {name: _info(fs, name)}
  except FileNotFoundError:
    return []
  except TimeoutError:
    raise
  except Exception as error:  # each fsspec package has its own
    raise OSError(
      f"{field}: cannot look up {pattern.path}: {type(error).__name__}: "
      + " ".join(str(error).split())
    ) from error
  if not pattern.is_glob:
    if infos[name].get("type") == "directory":
      raise ValueError(_folder_message(pattern.path, field))
    return [_remote_facts(fs, name, infos[name])]
  names = [x for x in sorted(infos) if infos[x].get("type") != "directory"]
  if any(infos[name].get("size") is None for name in names):
    # The index of a web server has names only.
    with concurrent.futures.ThreadPoolExecutor(_NUM_REQUESTS) as pool:
      found = pool.map(functools.partial(_info, fs), names)
      infos = dict(zip(names, found, strict=True))
  return [_remote_facts(fs, name, infos[name]) for name in names]


def _info(fs: fsspec.AbstractFileSystem, name: str) -> dict[str, Any]:
  """Return the facts of a remote file as fsspec has them."""
  try:
    return remote.call(fs, "info", name, seconds=_LIST_SECONDS)
  except FileNotFoundError as error:
    cause = error.__cause__
    if remote.scheme(name) not in web.SCHEMES or cause is None:
      raise
    # For fsspec, a file is missing whatever the server answers, if anything.
    if getattr(cause, "status", None) in (404, 410):
      raise
    raise ConnectionError(str(cause) or type(cause).__name__) from cause


def _folder_message(path: str, field: str) -> str:
  return (
    f"{field} must name files, and {path} is a folder; did you mean "
    f"{path.rstrip('/')}/*?"
  )


def _local_facts(path: str) -> File:
  status = os.stat(path)
  if stat.S_ISDIR(status.st_mode):
    raise IsADirectoryError(f"{path} is a folder")
  return File(path, status.st_size, f"mtime={status.st_mtime_ns}")


def _remote_facts(
  fs: fsspec.AbstractFileSystem, name: str, info: dict[str, Any]
) -> File:
  path, size = fs.unstrip_protocol(name), info["size"]
  if size is None and remote.scheme(path) in web.SCHEMES:
    size = web.copy(path).size  # the server says it with the last byte
  version = next(
    (f"{key}={info[key]}" for key in _VERSIONS if info.get(key)), ""
  )
  return File(path, int(size or 0), version)
