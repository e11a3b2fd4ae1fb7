"""Part of curation.html on languages, places and demographic terms.

For the whole curation and for each step that dropped pairs, the languages,
territories and terms whose shares changed most are shown, of the pairs before
and of those after.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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
    scale: highest share of the table.
  """

  name: str
  is_any: bool
  before: float
  after: float
  num_before: int
  num_after: int
  scale: float = 1.0


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
    "All pairs are counted, none is estimated.",
  ]


def _tables(
  shares: Mapping[str, Any],
  names: Mapping[str, str],
  first: int,
  last: int,
  num_rows: int,
) -> list[dict[str, Any]]:
  pairs = (shares["pairs"][first], shares["pairs"][last])
  places, terms = shares["places"], shares["terms"]
  counts: tuple[Iterator[tuple[str, bool, Sequence[int | None]]], ...] = (
    ((n, False, c) for n, c in shares["languages"]["counts"].items()),
    _of_places(places, names),
    _of_terms(terms),
  )
  tables = []
  for head, lines in zip(_HEADS, counts, strict=True):
    rows = []
    for name, is_any, numbers in lines:
      before, after = numbers[first], numbers[last]
      # Before the step that identifies languages they are null.
      if before and after is not None:
        share = after / pairs[1] if pairs[1] else 0.0
        row = Row(name, is_any, before / pairs[0], share, before, after)
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
      }
    )
  return tables


def _of_places(
  places: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[tuple[str, bool, Sequence[int]]]:
  yield "any place", True, places["any"]
  for code, numbers in places["counts"].items():
    yield names.get(code, code), False, numbers


def _of_terms(
  terms: Mapping[str, Any],
) -> Iterator[tuple[str, bool, Sequence[int]]]:
  for group, fields in terms.items():
    yield f"any of {group}", True, fields["any"]
    for term, numbers in fields["counts"].items():
      yield f"{term} ({group})", False, numbers
