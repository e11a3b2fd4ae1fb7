"""Table of JSON lines that is made once of other files."""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from input_pipeline.sources import columns
from runtime.storage import whole_files

# Column that has kind and message of a row's fault.
FAULT = "fault"


def write(
  path: pathlib.Path,
  rows: Iterable[Mapping[str, Any]],
  notes: Sequence[str] = (),
) -> None:
  """Write a table, the digest of its content, and notes for those who read it.

  Args:
    path: file of the table, .jsonl; the others are beside it.
    rows: rows of plain data.
    notes: lines; read after the last row, so that rows may add some.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  digest = hashlib.blake2b(digest_size=16)
  with whole_files.new_file(path) as temporary:
    with open(temporary, "wb") as file:
      for row in rows:
        line = json.dumps(row).encode() + b"\n"
        digest.update(line)
        file.write(line)
      file.flush()
      os.fsync(file.fileno())
    # The same table, made again, has the same version.
    os.utime(temporary, ns=(0, 0))
  whole_files.write(_digest_path(path), digest.hexdigest().encode())
  text = columns.clean("\n".join(notes))
  whole_files.write(path.with_suffix(".notes"), text.encode())


def is_made(path: pathlib.Path) -> bool:
  """Return whether a table is there, with its notes, which are last."""
  return path.exists() and path.with_suffix(".notes").exists()


def digest_of(path: pathlib.Path) -> str:
  """Return the hex digits of a table's content."""
  return _digest_path(path).read_text()


def warn(path: pathlib.Path, field: str) -> None:
  """Log the notes of a table as warnings about the field."""
  for line in path.with_suffix(".notes").read_text().splitlines():
    logging.warning("%s: %s", field, line)


def _digest_path(path: pathlib.Path) -> pathlib.Path:
  return path.with_suffix(".digest")
