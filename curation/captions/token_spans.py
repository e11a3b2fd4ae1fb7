"""Spans of the tokens of texts, by MetaCLIP's spacing rule.

The rule (arXiv 2309.16671, section 3.2; MetaCLIP,
metaclip/substr_matching.py): a text gets a space at both ends, each of
`PUNCTUATION` a space at both sides, and tab, line feed and carriage return
become spaces. Tokens lie between successive spaces, so they can be empty:
"a, b" has the tokens "a", ",", "", "b".
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PUNCTUATION = ",.;:?!`"
BLANKS = "\t\n\r"

_SPACE, _POINT, _END = 1, 2, 3
# Zeroes after the last text, so that 8 bytes can be read from any byte of it.
_PADDING = 8


@dataclasses.dataclass(frozen=True)
class Tokens:
  """Tokens of successive texts, with a line feed after each text.

  Attributes:
    data: uint8 [B + 8], bytes of the texts.
    starts: int64 [T], first byte of each token. The line feed of a text is a
      token too, equal to no other.
    lengths: int64 [T], bytes of each token.
    ends: int64 [N], index of the token that is the line feed of each text.
  """

  data: np.ndarray
  starts: np.ndarray
  lengths: np.ndarray
  ends: np.ndarray


def spaced(texts: pa.Array) -> pa.Array:
  """Return texts spaced by the rule, as large strings."""
  large = pa.large_string()
  space, nothing = pa.scalar(" ", large), pa.scalar("", large)
  inside = _spaced_inside(texts.cast(large))
  inside = pc.replace_substring_regex(inside, f"[{BLANKS}]", " ")
  return pc.binary_join_element_wise(space, inside, space, nothing)


def spaced_entries(entries: pa.Array) -> pa.Array:
  """Return entries as they occur in a spaced text, without spaces around.

  "St. Louis" becomes "St .  Louis"; "." stays as it is.
  """
  inside = _spaced_inside(entries)
  for pattern in (f"^ ([{PUNCTUATION}])", f"([{PUNCTUATION}]) $"):
    inside = pc.replace_substring_regex(inside, pattern, r"\1")
  return inside


def _spaced_inside(texts: pa.Array) -> pa.Array:
  return pc.replace_substring_regex(texts, f"[{PUNCTUATION}]", r" \0 ")


def of_texts(texts: pa.Array) -> Tokens:
  """Return the tokens of texts by the rule; a null is an empty text."""
  return _split(texts, _TEXT_CLASSES)


def of_entries(entries: pa.Array) -> Tokens:
  """Return the tokens of entries, separated by spaces alone."""
  return _split(entries, _ENTRY_CLASSES)


def _classes(spaces: str, points: str) -> bytes:
  table = bytearray(256)
  for char in spaces:
    table[ord(char)] = _SPACE
  for char in points:
    table[ord(char)] = _POINT
  return bytes(table)


_TEXT_CLASSES = _classes(" " + BLANKS, PUNCTUATION)
_ENTRY_CLASSES = _classes(" ", "")


def _split(texts: pa.Array, classes: bytes) -> Tokens:
  data, ends = join(texts)
  kinds = np.frombuffer(bytearray(data.tobytes().translate(classes)), np.uint8)
  kinds[ends] = _END
  at = np.flatnonzero(kinds)
  kinds = kinds.take(at)
  # The run of other bytes before each of these is a token, maybe empty. The
  # byte itself is a token too, unless it is a space.
  num_before = np.arange(len(at))
  doubled = kinds >= _POINT
  np.cumsum(doubled[:-1], out=(num_doubled := np.zeros(len(at), np.int64))[1:])
  runs = num_before + num_doubled
  num_tokens = len(at) + int(np.count_nonzero(doubled))
  starts = np.empty(num_tokens, np.int64)
  lengths = np.ones(num_tokens, np.int64)
  starts[runs[:1]] = 0
  starts[runs[1:]] = at[:-1] + 1
  lengths[runs] = at - starts[runs]
  singles = runs[doubled] + 1
  starts[singles] = at[doubled]
  return Tokens(data, starts, lengths, singles[kinds[doubled] == _END])


def join(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
  """Return the texts' bytes, a line feed after each, and the line feeds.

  Returns:
    uint8 [B + 8], with zeroes at the end, and int64 [N], indices of line feeds.
  """
  # The last argument is the separator, which is empty.
  large = pa.large_string()
  lines = pc.binary_join_element_wise(
    pc.fill_null(texts, "").cast(large),
    pa.scalar("\n", large),
    pa.scalar("", large),
  )
  if isinstance(lines, pa.ChunkedArray):
    lines = lines.combine_chunks()
  _, offsets, joined = lines.buffers()
  offsets = np.frombuffer(offsets, np.int64)[lines.offset :][: len(lines) + 1]
  data = np.zeros(offsets[-1] - offsets[0] + _PADDING, np.uint8)
  if joined is not None:
    data[:-_PADDING] = np.frombuffer(joined, np.uint8)[offsets[0] : offsets[-1]]
  return data, offsets[1:] - offsets[0] - 1
