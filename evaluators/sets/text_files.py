"""Small text files of evaluation sets, on disk or at a URL."""

import hashlib
from collections.abc import Sequence

from input_pipeline import faults
from input_pipeline.storage import files


def read(path: str) -> str | None:
  """Return a text file in UTF-8, None where there is none.

  Raises:
    ValueError: the file is not UTF-8.
    OSError: the file cannot be read.
  """
  try:
    data = files.read(path)
  except faults.ExampleError as error:
    if error.kind == "file_missing":
      return None
    raise OSError(str(error)) from error
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise ValueError(
      f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8"
    ) from error


def lines(text: str) -> list[str]:
  """Return the lines without spaces around them, not those after the last text.

  A blank line in the middle stays, as line i is class i.

  >>> lines("cat \\n\\ndog\\n\\n")
  ['cat', '', 'dog']
  """
  kept = [line.strip() for line in text.splitlines()]
  while kept and not kept[-1]:
    kept.pop()
  return kept


def digest(parts: Sequence[str]) -> str:
  """Return 32 hex digits of texts, in order.

  >>> digest(["ab", "c"]) == digest(["a", "bc"])
  False
  """
  value = hashlib.blake2b(digest_size=16)
  for part in parts:
    data = part.encode()
    value.update(len(data).to_bytes(8, "little") + data)
  return value.hexdigest()
