"""Files of JSON lines that are appended, also by a process that may be killed.

A last line that a kill cut short is dropped.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import IO, Any

from runtime.storage import strict_json, whole_files


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Return the complete lines of a file; none where there is no file."""
  return [fields for _, fields in _parsed(path)]


def keep(path: pathlib.Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
  """Delete all other lines of a file, and one that was cut short.

  A file that is not there is made.
  """
  kept = [text + b"\n" for text, fields in _parsed(path) if is_kept(fields)]
  whole_files.write(path, b"".join(kept))


def _parsed(path: pathlib.Path) -> list[tuple[bytes, dict[str, Any]]]:
  if not path.exists():
    return []
  *lines, last = path.read_bytes().split(b"\n")
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
      if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
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
