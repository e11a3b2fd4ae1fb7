"""Part of curation.html on languages, places and demographic terms.

For the whole curation and for each step that dropped pairs, the languages,
territories and terms whose shares changed most are shown, of the pairs before
and of those after.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from curation.shares import lists

# Rows of each table: of the whole curation, and of a step.
_NUM_ROWS, _NUM_STEP_ROWS = 10, 5
# Least change of a share that is shown: half of the last printed digit.
_LEAST = 5e-5
_WHOLE = "The pool and the selection"
_HEADS = ("Languages", "Places", "Demographic terms")


@dataclasses.dataclass(frozen=True)
class Row:
  """Share before and after.

  Attributes:
    name: what is counted.
    is_any: whether it is a whole group, as any place.
    before, after: shares in [0, 1].
    num_before, num_after: pairs.
    interval: of `after`, 95 %; None if all pairs are counted.
    scale: highest share of the table.
  """

  name: str
  is_any: bool
  before: float
  after: float
  num_before: int
  num_after: int
  interval: Sequence[float] | None
  scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Line:
  """Numbers of a label.

  Attributes:
    name: what is counted.
    is_any: whether it is a whole group.
    numbers: pairs at each point, null where they are not known.
    intervals: of the shares at each point; None if all pairs are counted.
  """

  name: str
  is_any: bool
  numbers: Sequence[int | None]
  intervals: Sequence[Sequence[float]] | None


def panels(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Return title, pairs before and after, and tables of each panel."""
  shares = manifest.get("shares")
  if not shares or not shares["pairs"][0]:
    return []
  points = shares["points"]
  spans = [(_WHOLE, 0, len(points) - 1, _NUM_ROWS)]
  if len(points) > 2:
    spans += [
      (f"Step {points[number]}", number - 1, number, _NUM_STEP_ROWS)
      for number in range(1, len(points))
    ]
  names = lists.territories()
  return [
    {
      "title": title,
      "before": shares["pairs"][first],
      "after": shares["pairs"][last],
      "tables": _tables(shares, names, first, last, num_rows),
    }
    for title, first, last, num_rows in spans
    if shares["pairs"][last] < shares["pairs"][first]
  ]


def notes(manifest: Mapping[str, Any]) -> list[str]:
  """Return the sentences on what is counted, and what that does not say."""
  shares = manifest["shares"]
  source = shares["languages"]["source"]
  language = {
    "pool": "Languages are those that the pool names for its pairs.",
    "not known": "The pool does not name the languages of its pairs and no step"
    " identifies them: they are not known.",
  }.get(source, f"Languages are those that the step {source} identified.")
  return [
    "A caption counts once for each place or term that it has as whole words,"
    " in any case. This counts words, not meanings, and not who or what the"
    " pictures show: a caption without a term says nothing of the people in its"
    " picture.",
    language,
    "Places are territories, by their names in 14 languages and by English"
    " demonyms and capitals. Terms are English; those that are common words"
    " otherwise (black, old) count before a word for people only (old man).",
    _of_sample(shares),
  ]


def _of_sample(shares: Mapping[str, Any]) -> str:
  sampled, pairs = shares["sampled"], shares["pairs"]
  if sampled == pairs:
    return "All pairs are counted, none is estimated."
  return (
    f"Places and terms are counted in the captions of {sampled[0]:,} of the"
    f" pool's {pairs[0]:,} pairs and {sampled[-1]:,} of the {pairs[-1]:,} kept"
    " ones, drawn by a hash of their UIDs; in brackets, 95 % intervals (Wilson)"
    " of the share after."
  )


def _tables(
  shares: Mapping[str, Any],
  names: Mapping[str, str],
  first: int,
  last: int,
  num_rows: int,
) -> list[dict[str, Any]]:
  languages = [
    Line(name, False, numbers, None)
    for name, numbers in shares["languages"]["counts"].items()
  ]
  is_unknown = shares["languages"]["source"] == "not known"
  tables = []
  for head, num, lines in (
    (_HEADS[0], shares["pairs"], languages),
    (_HEADS[1], shares["sampled"], _of_places(shares["places"], names)),
    (_HEADS[2], shares["sampled"], _of_terms(shares["terms"])),
  ):
    rows = []
    for line in lines:
      before, after = line.numbers[first], line.numbers[last]
      # Before the step that identifies languages they are null.
      if not before or after is None or not num[first]:
        continue
      share = after / num[last] if num[last] else 0.0
      interval = line.intervals[last] if line.intervals else None
      row = Row(
        *(line.name, line.is_any, before / num[first], share),
        *(before, after, interval),
      )
      if abs(row.after - row.before) >= _LEAST:
        rows.append(row)
    rows.sort(key=lambda row: (-abs(row.after - row.before), row.name))
    shown = sorted(rows[:num_rows], key=lambda row: not row.is_any)
    scale = max((max(r.before, r.after) for r in shown), default=1.0)
    tables.append(
      {
        "head": head,
        "rows": [dataclasses.replace(row, scale=scale) for row in shown],
        "num_left": len(rows) - len(shown),
        "empty": "not known"
        if head == _HEADS[0] and is_unknown
        else "no change",
      }
    )
  return tables


def _of_places(
  places: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[Line]:
  yield from _of_group("any place", places, lambda code: names.get(code, code))


def _of_terms(terms: Mapping[str, Any]) -> Iterator[Line]:
  for group, fields in terms.items():
    yield from _of_group(f"any of {group}", fields, f"{{}} ({group})".format)


def _of_group(
  whole: str, fields: Mapping[str, Any], name: Callable[[str], str]
) -> Iterator[Line]:
  """Yield a line of all labels of a group, and one of each."""
  intervals = fields.get("intervals")
  yield Line(whole, True, fields["any"], intervals and intervals["any"])
  for label, numbers in fields["counts"].items():
    own = intervals and intervals["counts"][label]
    yield Line(name(label), False, numbers, own)
