"""Rows of tables, one by one and many at once."""

import pytest

from input_pipeline import faults
from input_pipeline.sources import columns
from input_pipeline.sources.tables import table_layout

COLUMNS = columns.Columns("image", ("caption",), None, None)
CSV = table_layout.Layout(COLUMNS, ("image", "caption"), ",")


def _rows(data, starts):
  return [
    f"{row.kind}: {row}" if isinstance(row, faults.ExampleError) else row
    for row in CSV.rows(data, starts)
  ]


def test_rows_of_csv_are_equal_however_they_are_read():
  data = [b'a.jpg,"two\nlines"\n', b"b.jpg\n", b"c.jpg,text\n"]
  whole = _rows(b"".join(data), [0, 18, 24, 35])
  assert whole == [
    {"image": "a.jpg", "caption": "two\nlines"},
    "record_broken: expected 2 fields; got 1",
    {"image": "c.jpg", "caption": "text"},
  ]
  # A blank line is no row to CSV's reader, so that rows are read one by one.
  assert _rows(b"".join([*data, b"\n"]), [0, 18, 24, 35, 36]) == [
    *whole,
    "record_broken: expected one row; got 0",
  ]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"[1]", "no JSON object"),
    (b"{", "Expecting property name"),
    (b"\xff", "no JSON: Expecting value, column 1"),
    (b'{"a": "\0"}', "a NUL byte at byte 7 of the row"),
    (b'{"image": "a", "image": "b"}', "the field image twice"),
    (b'{"caption": {"en": "a", "en": "b"}}', "the field en twice"),
    (b'{"caption": [{"en": ["a"], "en": ["b"]}]}', "the field en twice"),
    (b'{"caption": {"\\udc00": "x"}}', r"half a surrogate pair, .udc00"),
    (b'{"image": "\\udc00"}', r"half a surrogate pair, .udc00"),
    (b'{"caption": "\xe9"}', "byte 0xe9, at byte 13 of the row"),
    (b"[" * 100_000, "recursion"),
  ],
)
def test_broken_lines_are_refused(data, message):
  with pytest.raises(faults.ExampleError, match=message):
    table_layout.Layout(COLUMNS).row(data)


def test_what_harms_no_column_that_is_read_is_read():
  json_lines = table_layout.Layout(COLUMNS)
  for data in (
    b'{"image": "a", "caption": "b", "x": "\xe9", "x": NaN}',
    b'{"image": "a", "caption": "b", "x": {"caption": 1, "caption": 2}}',
    b'{"image": "a", "caption": "b", "caption": "b", "x": "\\ud800"}',
    b'{"image": "a", "caption": "b", "x": 1, "x": {"y": 1, "y": 2}}',
  ):
    row = json_lines.row(data)
    assert (row["image"], row["caption"]) == ("a", "b")
  assert CSV.row(b'a,"x ""y"", z"\r\n')["caption"] == 'x "y", z'
  tabs = table_layout.Layout(COLUMNS, ("image", "caption"), "\t")
  for text in ('"open', '5" pipe', '"a ""b"""', "\x85 \u2028,", "a\rb"):
    row = tabs.row(f"a.jpg\t{text}\r\n\n".encode())
    assert row == {"image": "a.jpg", "caption": text}
