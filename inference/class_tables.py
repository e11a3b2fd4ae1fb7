"""Tables of a set's classes and groups, as CSV files."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

CLASSES, GROUPS = "classes", "groups"


def csv_files(details: Mapping[str, Any]) -> dict[str, bytes]:
  """Return the content of each table that a set has, in UTF-8.

  "classes" has a row a class, in the order of the labels; "groups" a row for
  each value of each field.

  Args:
    details: content of sets/NAME.json.
  """
  files = {}
  if classes := details.get("per_class"):
    files[CLASSES] = _csv(
      ["label", *classes[0]],
      [[label, *row.values()] for label, row in enumerate(classes)],
    )
  rows = [
    [field, row["name"], row["n"], row["mean"], *row["interval"]]
    for field, groups in details.get("groups", {}).items()
    for row in groups
  ]
  if rows:
    header = ["field", "group", "n", "top_1", "low", "high"]
    files[GROUPS] = _csv(header, rows)
  return files


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator="\n")
  writer.writerows([header, *rows])  # None is an empty field
  return buffer.getvalue().encode()
