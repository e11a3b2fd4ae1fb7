"""Rows of tables, one by one and many at once."""

import pytest

from input_pipeline.sources import columns, table_layout

COLUMNS = columns.Columns("image", ("caption",), None, None)
CSV = table_layout.Layout(COLUMNS, ("image", "caption"), ",")


def test_rows_of_csv_are_equal_however_they_are_read():
  data = [b'a.jpg,"two\nlines"\n', b"b.jpg\n", b"c.jpg,text\n"]
  whole = list(CSV.rows(b"".join(data), [0, 18, 24, 35]))
  assert whole == [
    {"image": "a.jpg", "caption": "two\nlines"},
    "expected 2 values; got ['b.jpg']",
    {"image": "c.jpg", "caption": "text"},
  ]
  # A blank line is no row to CSV's reader, so that rows are read one by one.
  assert list(CSV.rows(b"".join([*data, b"\n"]), [0, 18, 24, 35, 36])) == [
    *whole,
    "expected one row; got 0",
  ]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"[1]", "not an object"),
    (b"{", "Expecting property name"),
    (b"\xff", "can't decode byte"),
    (b"[" * 100_000, "recursion"),
  ],
)
def test_broken_lines_are_refused(data, message):
  with pytest.raises(ValueError, match=message):
    table_layout.Layout(COLUMNS).row(data)
