"""Blocks of a Markdown file that a program writes, between two marks."""

import pathlib

from runtime import failures
from runtime.storage import whole_files


def replaced(path: pathlib.Path, name: str, block: str) -> str:
  """Return a file's text with another block between its marks.

  The marks are lines: <!-- NAME --> and <!-- /NAME -->.

  Raises:
    RunError: the file is missing, or lacks the marks, each once and in order.
  """
  first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
  try:
    text = path.read_text()
  except FileNotFoundError as error:
    raise failures.RunError(
      f"{path} is missing; expected a file with {first} and {last}"
    ) from error
  lines = text.split("\n")
  if lines.count(first) != 1 or lines.count(last) != 1:
    raise failures.RunError(
      f"{path} must have the lines {first} and {last}, each once; got"
      f" {lines.count(first)} and {lines.count(last)}"
    )
  begin, end = lines.index(first), lines.index(last)
  if begin > end:
    raise failures.RunError(f"{path} must have {first} before {last}")
  return "\n".join([*lines[: begin + 1], "", block, "", *lines[end:]])


def write(path: pathlib.Path, text: str) -> None:
  """Write a file, whole or not at all."""
  whole_files.write(path, text.encode())
