"""Files of JSON lines that are appended, also by a process that may be killed.

A last line that a kill cut short is dropped. In a bucket, lines are collected
and written as segments (segments.py), which readers join.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from runtime.storage import bucket_path, segments, strict_json

# Seconds after which lines are written to a bucket without being asked for.
FLUSH_SECONDS = 30.0


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Return the complete lines of a file; none where there is no file."""
  return [fields for _, fields in _parsed(path)]


def keep(path: pathlib.Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
  """Delete all other lines of a file, and one that was cut short.

  A file that is not there is made.
  """
  kept = [text + b"\n" for text, fields in _parsed(path) if is_kept(fields)]
  segments.replace(path, b"".join(kept))


def _parsed(path: pathlib.Path) -> list[tuple[bytes, dict[str, Any]]]:
  try:
    *lines, last = segments.read(path).split(b"\n")
  except FileNotFoundError:
    return []
  parsed = []
  for number, line in enumerate(lines, 1):
    try:
      parsed.append((line, json.loads(line)))
    except ValueError as error:
      raise ValueError(
        f"{path}: line {number} must be JSON; {error}"
      ) from error
  # Mostly empty; no beginning of a JSON object is JSON.
  with contextlib.suppress(ValueError):
    parsed.append((last, json.loads(last)))
  return parsed


def _is_torn(path: pathlib.Path) -> bool:
  """Return whether a file must be mended before a line is appended."""
  if segments.exists(path):
    return segments.has_parts(path) or not path.read_bytes().endswith(b"\n")
  return False


def writer(path: pathlib.Path) -> "Writer | BucketWriter":
  """Return what appends lines to a file on a disk or in a bucket."""
  if isinstance(path, bucket_path.BucketPath):
    return BucketWriter(path)
  return Writer(path)


class Writer:
  """Appends lines to a file, which is made for the first one."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._file: IO[str] | None = None
    self._is_whole = False

  def write(self, line: Mapping[str, Any]) -> None:
    """Append a line; the system has it when this returns.

    Numbers that are not finite are written as null.
    """
    text = strict_json.dumps(line)
    if not self._is_whole:
      if _is_torn(self._path):
        keep(self._path, lambda _: True)
      self._is_whole = True
    if self._file is None:
      self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
    self._file.write(text + "\n")
    self._file.flush()

  def sync(self) -> None:
    """Put all lines on the disk."""
    if self._file is not None:
      os.fsync(self._file.fileno())

  def close(self) -> None:
    """Close the file; the next line opens it again."""
    if self._file is not None:
      self._file.close()
      self._file = None


class BucketWriter:
  """Appends lines to a file in a bucket, many at a time.

  A kill loses the lines since the last `sync`, or FLUSH_SECONDS of them.
  """

  def __init__(self, path: bucket_path.BucketPath):
    self._path = path
    self._segments = segments.Appender(path)
    self._lines: list[str] = []
    # Segment under way. It is tried again as it is: its bytes tell whether an
    # earlier try was written though its reply was lost.
    self._segment = b""
    self._pool: concurrent.futures.ThreadPoolExecutor | None = None
    self._flush: concurrent.futures.Future[None] | None = None
    self._flushed = time.monotonic()
    self._has_written = False

  def write(self, line: Mapping[str, Any]) -> None:
    """Keep a line for the next segment; see `Writer.write`."""
    self._lines.append(strict_json.dumps(line) + "\n")
    is_idle = self._flush is None or self._flush.done()
    if is_idle and time.monotonic() - self._flushed > FLUSH_SECONDS:
      # A failure is raised by `sync`, which tries the same lines again.
      self._flush = self._submit()

  def sync(self) -> None:
    """Write all lines to the bucket.

    Raises:
      BucketError: they could not be written.
    """
    if self._lines or self._segment:
      self._submit().result()

  def close(self) -> None:
    """Write all lines, and join the segments of this writer."""
    self.sync()
    if self._has_written:
      keep(self._path, lambda _: True)
      self._segments = segments.Appender(self._path)
      self._has_written = False
    if self._pool is not None:
      self._pool.shutdown()
      self._pool = None

  def _submit(self) -> concurrent.futures.Future[None]:
    self._flushed = time.monotonic()
    if self._pool is None:
      self._pool = concurrent.futures.ThreadPoolExecutor(1)
    return self._pool.submit(self._write_segments)

  def _write_segments(self) -> None:
    """Write the lines so far; in the pool's one thread."""
    while self._segment or self._lines:
      if not self._segment:
        lines = list(self._lines)
        self._segment = "".join(lines).encode()
        del self._lines[: len(lines)]
      self._segments.append(self._segment)
      self._segment, self._has_written = b"", True
