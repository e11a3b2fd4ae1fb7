"""Lists of files written with a shell's braces: {000..123} and {a,b}."""

import itertools
import re

# Most paths of a pattern: LAION-5B has about 230,000 shards, so a pattern of
# more has a digit too many.
_MAX_PATHS = 1_000_000

_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(pattern: str) -> list[str]:
  """Return the paths of a pattern; its first braces change slowest.

  Numbers keep their written width: {08..10} is 08, 09, 10. Braces may be
  nested. Raises ValueError for an invalid pattern.
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


def is_glob(path: str, scheme: str) -> bool:
  """Return whether a path, its braces expanded, is a glob.

  Args:
    path: path, or part of one.
    scheme: scheme of the URL that it is part of, "" on disk.
  """
  # In an address of the web, "?" begins the query.
  magic = "*[" if scheme in ("http", "https") else "*?["
  return any(letter in path for letter in magic)


def _closing(pattern: str, start: int) -> int:
  depth = 0
  for index in range(start, len(pattern)):
    depth += {"{": 1, "}": -1}.get(pattern[index], 0)
    if depth == 0:
      return index
  raise ValueError(f"a {{ without its }} in {pattern!r}")


def _alternatives(inner: str) -> list[str]:
  """Return the alternatives inside a pair of braces."""
  match = _RANGE.fullmatch(inner)
  if match is not None:
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MAX_PATHS:
      raise ValueError(f"{{{inner}}} must count up, to {_MAX_PATHS} at most")
    padded = any(len(end) > 1 and end.startswith("0") for end in match.groups())
    width = max(map(len, match.groups())) if padded else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]
  depths = itertools.accumulate({"{": 1, "}": -1}.get(c, 0) for c in inner)
  cuts = [
    index
    for index, (letter, depth) in enumerate(zip(inner, depths, strict=True))
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
