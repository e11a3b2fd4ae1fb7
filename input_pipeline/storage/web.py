"""Reads from web servers, of which many send a file only as a whole.

Such a file is copied once to an unnamed file in the folder for temporary files,
and its parts are read from there.
"""

import asyncio
import functools
import os
import tempfile
from typing import Any

from runtime.storage import remote

SCHEMES = ("http", "https")
# Timeout of the copy of a whole file: a tar of 1 GB at 2 MB/s.
_COPY_SECONDS = 600.0
_CHUNK_BYTES = 1 << 20
# Most copies of a process at once.
_NUM_COPIES = 8


# URLs whose server sent a whole file where a part was asked for.
_wholes: set[str] = set()


class Copy:
  """Copy of a file on disk, deleted when no thread reads it any more."""

  def __init__(self, url: str):
    fs, _ = remote.file_system(url)
    with tempfile.TemporaryFile() as file:
      remote.wait(fs, _copy(fs, url, file.fileno()), _COPY_SECONDS)
      self._number = os.dup(file.fileno())
    self.size = os.fstat(self._number).st_size

  def __del__(self):
    if hasattr(self, "_number"):
      os.close(self._number)

  def read(self, start: int, stop: int) -> bytes:
    """Return the bytes from `start` up to `stop`, fewer at the end."""
    return os.pread(self._number, stop - start, start)


# No lock that a fork could copy while it is held, as in files._descriptor.
@functools.lru_cache(maxsize=_NUM_COPIES)
def copy(url: str) -> Copy:
  """Return the copy of a whole file, made at the first call."""
  return Copy(url)


def read(
  fs: Any,
  url: str,
  part: tuple[int, int | None],
  seconds: float,
) -> bytes:
  """Return the bytes of a file from part[0] to part[1] (None: its end).

  Raises:
    FileNotFoundError: the server has no such file (status 404 or 410).
    PermissionError: another status from 400 to 499 but 408 and 429, which no
      second try changes.
    TimeoutError, aiohttp.ClientError: no answer, or a broken one.
  """
  if url not in _wholes:
    data = remote.wait(fs, _get(fs, url, *part), seconds)
    if data is not None:
      return data
    _wholes.add(url)
  whole = copy(url)
  return whole.read(part[0], whole.size if part[1] is None else part[1])


async def _get(fs: Any, url: str, start: int, stop: int | None) -> bytes | None:
  """Return bytes of a file; None if the server sends it only as a whole."""
  headers = {}
  if stop is not None:
    # Parts are of the stored bytes, not of what a server makes of them.
    headers = {"Range": f"bytes={start}-{stop - 1}"}
    headers["Accept-Encoding"] = "identity"
  async with await _response(fs, url, headers) as response:
    _check(response, url)
    if stop is not None and response.status != 206:
      return None
    return await response.read()


async def _copy(fs: Any, url: str, descriptor: int) -> None:
  headers = {"Accept-Encoding": "identity"}
  async with await _response(fs, url, headers) as response:
    _check(response, url)
    async for data in response.content.iter_chunked(_CHUNK_BYTES):
      while data:
        data = data[os.write(descriptor, data) :]
        await asyncio.sleep(0)


async def _response(fs: Any, url: str, headers: dict[str, str]) -> Any:
  session = await fs.set_session()
  fields = fs.kwargs | {"headers": fs.kwargs.get("headers", {}) | headers}
  return await session.get(fs.encode_url(url), **fields)


def _check(response: Any, url: str) -> None:
  """Raise the error of a response's status, as `read` says."""
  status = f"{url}: its server answers {response.status} {response.reason}"
  if response.status in (404, 410):
    raise FileNotFoundError(status)
  if 400 <= response.status < 500 and response.status not in (408, 429):
    raise PermissionError(status)
  response.raise_for_status()
