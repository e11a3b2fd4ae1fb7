"""Lists of files written with braces, as shells do: {000..123} and {a,b}."""

import itertools
import re

# LAION-5B has about 230,000 shards: above this, a digit is too many.
_MAX_PATHS = 1_000_000

_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(pattern: str) -> list[str]:
  """Return the paths of a pattern; its first braces change slowest.

  Numbers are as wide as they are written: {08..10} is 08, 09, 10. Braces may
  be nested. Raises ValueError with what is wrong.
  """
  start = pattern.find("{")
  if start < 0:
    if "}" in pattern:
      raise ValueError(f"a }} without its {{ in {pattern!r}")
    return [pattern]
  if "}" in pattern[:start]:
    raise ValueError(f"a }} without its {{ in {pattern!r}")
  stop = _closing(pattern, start)
  heads = _alternatives(pattern[start + 1 : stop])
  tails = expand(pattern[stop + 1 :])
  if len(heads) * len(tails) > _MAX_PATHS:
    raise ValueError(
      f"more than {_MAX_PATHS} paths in {pattern!r}: is that a misprint?"
    )
  prefix = pattern[:start]
  return [prefix + head + tail for head in heads for tail in tails]


def is_glob(path: str) -> bool:
  """Return whether a path, its braces written out, stands for several."""
  # "?" begins the query of an address.
  magic = "*[" if path.startswith(("http://", "https://")) else "*?["
  return any(letter in path for letter in magic)


def _closing(pattern: str, start: int) -> int:
  depth = 0
  for place in range(start, len(pattern)):
    depth += {"{": 1, "}": -1}.get(pattern[place], 0)
    if depth == 0:
      return place
  raise ValueError(f"a {{ without its }} in {pattern!r}")


def _alternatives(inner: str) -> list[str]:
  """Return what a pair of braces stands for."""
  found = _RANGE.fullmatch(inner)
  if found is not None:
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + _MAX_PATHS:
      raise ValueError(f"{{{inner}}} must count up, to {_MAX_PATHS} at most")
    padded = any(len(end) > 1 and end.startswith("0") for end in found.groups())
    width = max(map(len, found.groups())) if padded else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]
  depths = itertools.accumulate({"{": 1, "}": -1}.get(c, 0) for c in inner)
  cuts = [
    place
    for place, (letter, depth) in enumerate(zip(inner, depths, strict=True))
    if letter == "," and depth == 0
  ]
  if not cuts and "{" not in inner:
    raise ValueError(f"{{{inner}}} is neither {{first..last}} nor {{a,b}}")
  bounds = [-1, *cuts, len(inner)]
  return [
    path
    for left, right in itertools.pairwise(bounds)
    for path in expand(inner[left + 1 : right])
  ]
