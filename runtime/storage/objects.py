"""Objects of a bucket at gs:// or s3://: whole, and written by precondition.

A write names the version that it replaces: Google's generation, S3's ETag. The
store refuses it (`ConflictError`) where another process was faster, so no write
is lost unseen. Each request has a time-out and is tried several times.
"""

import asyncio
import concurrent.futures
import contextlib
import io
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, BinaryIO, cast

from absl import logging

from runtime import failures
from runtime.storage import google_credentials, remote, store_requests

SCHEMES = ("gs", "s3")
# Version of an object that is not there.
ABSENT = ""
# Seconds between tries: an overloaded store, or a broken connection, recovers.
WAITS = (0.5, 2.0, 8.0, 20.0)
# Timeout of one try: object stores answer within a second. Large objects get a
# second more for each _BYTES_PER_SECOND.
TRY_SECONDS = 20.0
_BYTES_PER_SECOND = 1 << 20
# Timeout of the only try without credentials.
_PUBLIC_SECONDS = 5.0
# Concurrent requests for many objects.
_NUM_REQUESTS = 16
# Bytes of a large object that are sent at a time.
_STREAM_BYTES = 16 << 20
# HTTP status -> reason that another try cannot mend.
_REFUSED = {401: "no access", 403: "no access"}
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
_ADVICE = {
  "gs": "run `gcloud auth application-default login`, or set"
  " GOOGLE_APPLICATION_CREDENTIALS",
  "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
}


class BucketError(failures.RunError):
  """Failure of a bucket, as one line with the address."""


class ConflictError(BucketError):
  """Refusal of a write, since the object has another version than expected."""


def read(url: str) -> store_requests.Stored | None:
  """Return an object, None where there is none.

  Raises:
    BucketError: the bucket does not answer, or refuses.
  """
  try:
    return _call(
      url, store_requests.read_gs if _is_gs(url) else store_requests.read_s3
    )
  except FileNotFoundError:
    return None


def write(url: str, data: bytes, *, replaces: str) -> str:
  """Write a whole object in place of one version; return the new version.

  Args:
    url: address of the object.
    data: its bytes. Where a reply was lost, the bytes tell whose write it was:
      those of a claim must differ from all others.
    replaces: version that is there, or ABSENT.

  Raises:
    ConflictError: another version is there.
    BucketError: the bucket does not answer, or refuses.
  """
  seconds = TRY_SECONDS + len(data) / _BYTES_PER_SECOND
  request = store_requests.write_gs if _is_gs(url) else store_requests.write_s3
  try:
    return _call(url, request, data, replaces, seconds)
  except FileNotFoundError as error:
    refused: Exception = error
    if replaces == ABSENT:
      raise BucketError(f"{url}: there is no such bucket") from error
  except ConflictError as error:
    refused = error
  # An earlier try may have been written though its reply was lost.
  stored = read(url)
  if stored is not None and stored.data == data:
    return stored.version
  raise ConflictError(
    f"{url} was written by another process; expected version"
    f" {replaces or 'none'}"
  ) from refused


def replace(url: str, data: bytes) -> str:
  """Write a whole object in place of the one that is there now, if any.

  Raises:
    ConflictError: another process wrote it in the same moment.
    BucketError: see `write`.
  """
  return write(url, data, replaces=version(url))


def version(url: str) -> str:
  """Return the version of an object, ABSENT where there is none."""
  try:
    return _call(url, store_requests.version)
  except FileNotFoundError:
    return ABSENT


def delete(urls: Iterable[str]) -> None:
  """Delete objects; those that are not there are no error."""

  def one(url: str) -> None:
    with contextlib.suppress(FileNotFoundError):
      _call(url, store_requests.delete)

  _together(one, urls)


def sizes(url: str) -> dict[str, int]:
  """Return {name: bytes} of all objects below a folder, at any depth.

  Names begin behind the folder's slash.
  """
  try:
    infos = _call(f"{url}/", store_requests.find)
  except FileNotFoundError:
    return {}
  prefix = _split(f"{url}/")[1] if _split(url)[1] else ""
  return {
    name.removeprefix(prefix): int(info["size"])
    for name, info in sorted(infos.items())
    if name.startswith(prefix) and name != prefix
  }


def children(url: str) -> list[str]:
  """Return the names of objects and folders right below a folder."""
  try:
    listed = _call(f"{url}/", store_requests.list_children)
  except FileNotFoundError:
    return []
  prefix = _split(f"{url}/")[1] if _split(url)[1] else ""
  names = {name.removeprefix(prefix).rstrip("/") for name in listed}
  return sorted(names - {""})


def has_any(url: str) -> bool:
  """Return whether an object lies below a folder."""
  try:
    return _call(f"{url}/", store_requests.list_one)
  except FileNotFoundError:
    return False


def upload(pairs: Iterable[tuple[str, str]]) -> None:
  """Copy files (local path, URL) into a bucket, several at a time."""
  _together(
    lambda pair: _call(pair[1], store_requests.put_file, pair[0]), pairs
  )


def download(pairs: Iterable[tuple[str, str]]) -> None:
  """Copy objects (URL, local path) to the disk, several at a time."""
  _together(
    lambda pair: _call(pair[0], store_requests.get_file, pair[1]), pairs
  )


def copy(pairs: Iterable[tuple[str, str]]) -> None:
  """Copy objects (URL, URL) within a bucket, without a download."""
  _together(
    lambda pair: _call(
      pair[0], store_requests.copy_file, "/".join(_split(pair[1]))
    ),
    pairs,
  )


@contextlib.contextmanager
def streamed(url: str) -> Iterator[BinaryIO]:
  """Yield a file that is uploaded while it is written, from front to back.

  It takes its address on exit without an exception, whole. Parts of it that
  the store refuses are tried again by the client.

  Raises:
    BucketError: it could not be written.
  """
  try:
    fs, name = remote.file_system(url)
    file = fs.open(name, "wb", block_size=_STREAM_BYTES)
  except Exception as error:
    raise BucketError(f"{url}: {_reason(error)[1]}") from error
  try:
    yield cast(BinaryIO, _Stream(file, url))
  except BaseException:
    _discard(file)
    raise
  try:
    file.close()
  except Exception as error:
    _discard(file)
    raise BucketError(f"{url}: {_reason(error)[1]}") from error


def _discard(file: Any) -> None:
  """Give up a file that is being uploaded."""
  with contextlib.suppress(Exception):  # the store deletes it in time
    file.discard()
  file.closed = True  # or it would be completed when it is collected


class _Stream(io.RawIOBase):
  """File of fsspec that raises errors as this module does."""

  def __init__(self, file: Any, url: str):
    self._file, self._url = file, url

  def writable(self) -> bool:
    return True

  def write(self, data: Any) -> int:
    try:
      return self._file.write(data)
    except Exception as error:
      raise BucketError(f"{self._url}: {_reason(error)[1]}") from error


def check(url: str, named: str) -> None:
  """Raise unless a bucket is there and can be listed.

  Args:
    url: address in it.
    named: the flag and its value, for messages.

  Raises:
    BucketError: one line that names the flag and the address.
    ModuleNotFoundError: the client is not installed; names its package.
  """
  bucket = _bucket(url)
  if not bucket:
    raise BucketError(
      f"{named} must name a bucket and a folder in it:"
      f" {remote.scheme(url)}://BUCKET/PATH"
    )
  try:
    if _is_gs(url) and not google_credentials.are_there():
      _check_public(url)
    remote.file_system(url)
    _call(url, store_requests.list_one)
  except ImportError as error:
    raise ModuleNotFoundError(f"{named}: {error}") from error
  except FileNotFoundError as error:
    raise BucketError(
      f"{named}: there is no bucket {remote.scheme(url)}://{bucket}"
    ) from error
  except BucketError as error:
    raise BucketError(f"{named}: {error}") from error


def _check_public(url: str) -> None:
  """Raise unless a bucket answers at once to who has no credentials."""
  fs, _ = remote.file_system(url)
  request = store_requests.list_one(fs, _bucket(url), _split(url)[1])
  try:
    remote.wait(fs, request, _PUBLIC_SECONDS)
  except FileNotFoundError:
    raise
  except Exception as error:
    raise BucketError(f"{url}: no credentials; {_ADVICE['gs']}") from error


def _together(fn: Callable[[Any], Any], items: Iterable[Any]) -> None:
  """Call fn for each item, several at a time; raise the first error."""
  with concurrent.futures.ThreadPoolExecutor(_NUM_REQUESTS) as pool:
    for _ in pool.map(fn, items):
      pass


def _call(
  url: str, request: Callable[..., Coroutine[Any, Any, Any]], *args: Any
) -> Any:
  """Return the result of a request, which is tried several times.

  Raises:
    FileNotFoundError, ConflictError, BucketError.
  """
  start = time.monotonic()
  reason = ""
  for wait in (*WAITS, None):
    fs, name = remote.file_system(url)
    _, key = _split(url)
    coroutine = request(fs, _bucket(url), key, *args)
    try:
      return remote.wait(fs, coroutine, _seconds(request, args))
    except FileNotFoundError:
      raise
    except Exception as error:  # each client has its own
      status, reason = _reason(error)
      if status in (409, 412):
        raise ConflictError(f"{url}: {reason}") from error
      if status in _REFUSED:
        raise BucketError(
          f"{url}: {_REFUSED[status]} ({reason}); {_ADVICE[remote.scheme(url)]}"
        ) from error
      if wait is None:
        raise BucketError(
          f"{url}: {reason}, after {len(WAITS) + 1} tries in"
          f" {time.monotonic() - start:.0f} s"
        ) from error
      logging.warning("%s: %s; trying again in %g s", url, reason, wait)
    time.sleep(wait)
  raise AssertionError(reason)


def _seconds(request: Callable[..., Any], args: tuple[Any, ...]) -> float:
  if request in (store_requests.write_gs, store_requests.write_s3):
    return args[2]
  # Lists are a request for each thousand objects.
  if request in (store_requests.find, store_requests.list_children):
    return 6 * TRY_SECONDS
  # A file has any size; the clients end a connection that falls silent.
  if request in (store_requests.put_file, store_requests.get_file):
    return 3600.0
  return TRY_SECONDS


def _reason(error: BaseException) -> tuple[int | None, str]:
  """Return the HTTP status of a client's error, None without, and a line."""
  if isinstance(error, TimeoutError | asyncio.TimeoutError):
    return None, "no answer in time"
  if isinstance(error, FileExistsError):
    return 412, "another version is there"
  cause: BaseException | None = error
  status = None
  while cause is not None and status is None:
    response = getattr(cause, "response", None)  # botocore
    if isinstance(response, dict):
      status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = status or getattr(cause, "code", None)  # gcsfs
    if type(cause).__name__ in _NO_CREDENTIALS:
      status = 401
    cause = cause.__cause__
  lines = str(error).strip().splitlines() or [type(error).__name__]
  if isinstance(error, PermissionError) or lines[0].startswith("Forbidden"):
    status = 403
  try:
    status = int(status) if status is not None else None
  except ValueError:
    status = None
  line = lines[0][:200].rstrip(".")
  return status, f"HTTP {status}: {line}" if status else line


def _is_gs(url: str) -> bool:
  return remote.scheme(url) == "gs"


def _split(url: str) -> tuple[str, str]:
  """Return the bucket of a URL and the key in it."""
  bucket, _, key = url.partition("://")[2].partition("/")
  return bucket, key


def _bucket(url: str) -> str:
  return _split(url)[0]
