"""Tables that other programs write are read as they were written.

CSV is written by Python's csv, TSV by joining lines, JSON lines by json. Each
example of Hypothesis is a table of several rows.
"""

import csv
import io
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from input_pipeline import captions, faults
from input_pipeline.sources.tables import table
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs

# Rows of all tables together, in each format, are some thousand.
TABLES = 350
NASTY = st.sampled_from(
  [
    *('"', '""', '"open', 'a "b" c', '5" pipe', '\\"', "'", '","', ",,", ";"),
    *("\n", "\r\n", "\r", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"),
    *(
      "\u2029",
      "\ufeff",
      "\u200b",
      "\u00ad",
      "\u2060",
      "caf\u00e9",
      "\U0001f408",
    ),
    *(
      "{}",
      '{"a": 1}',
      "[1]",
      "null",
      "NaN",
      "1e5",
      "\\u0041",
      "\\",
      "\\n",
      "#",
    ),
    *("=1+1", " ", "  ", "x" * 200_000, "\u732b" * 50_000, "\ue000", "\uffff"),
  ]
)
TEXT = st.lists(
  NASTY
  | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
  max_size=4,
).map("".join)
IMAGES = ("a.png", "b.png")


def _csv(rows, quoting):
  file = io.StringIO()
  writer = csv.writer(file, quoting=quoting)
  writer.writerow(["filepath", "title", "note"])
  writer.writerows(rows)
  return file.getvalue()


def _tsv(rows, end):
  lines = ["\t".join(row) for row in [("filepath", "title", "note"), *rows]]
  return end.join(lines) + end


def _json_lines(rows, is_ascii):
  return "".join(
    json.dumps({"filepath": a, "title": b, "note": c}, ensure_ascii=is_ascii)
    + "\n"
    for a, b, c in rows
  )


FORMATS = {
  ".csv": (_csv, (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
  ".tsv": (_tsv, ("\n", "\r\n")),
  ".jsonl": (_json_lines, (True, False)),
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_tables_are_read_as_they_were_written(suffix, tmp_path):
  for name in IMAGES:
    (tmp_path / name).write_bytes(pairs.png(IMAGES.index(name)))
  write, options = FORMATS[suffix]
  # No number, as a column of numbers would be one of numbers.
  note = TEXT.map("note {}".format)
  row = st.tuples(st.sampled_from(IMAGES), TEXT, note)
  number = 0

  @hypothesis.settings(
    max_examples=TABLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(
    st.lists(row, min_size=1, max_size=5),
    st.sampled_from(options),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    st.sampled_from([False, False, False, True]),
  )
  def check(rows, option, encoding, with_pools):
    nonlocal number
    if suffix == ".tsv":
      # Tabs and line ends cannot be in a field.
      rows = [
        tuple(x.replace("\t", " ").replace("\n", " ").rstrip("\r") for x in row)
        for row in rows
      ]
    number += 1
    path = tmp_path / f"{number}{suffix}"
    path.write_bytes(write(rows, option).encode(encoding))
    is_utf8 = encoding.startswith("utf-8")
    source = pairs.source("table", path, encoding="" if is_utf8 else encoding)
    records = table.open_split(source, "", pairs.context(tmp_path))
    expected = [
      "caption_missing" if captions.is_blank(text) else (image, text)
      for image, text, _ in rows
    ]
    assert [_read(records, index) for index in range(len(records))] == expected
    if not with_pools:
      return
    formats = (
      ("table", "jsonl") if suffix == ".jsonl" and is_utf8 else ("table",)
    )
    for name in formats:
      fields = {"encoding": source.encoding, "image": ("filepath",)}
      opened, shards = reading.open_pool(
        pairs.source(name, path, **fields), tmp_path
      )
      found = reading.rows_of(opened, shards, ("text", "note"))
      assert [
        row["fault"].partition(":")[0] if row["fault"] else row["text"]
        for row in found
      ] == [one if isinstance(one, str) else one[1] for one in expected]
      assert [row["note"] for row in found] == [note for *_, note in rows]
    uids = [row["pair"] for row in found]
    if name == "table":
      assert uids == [tuple(uid.tolist()) for uid in records.uids()]

  check()
  assert number >= TABLES


def _read(records, index):
  """Return the image's name and the caption of a row, or a fault's kind."""
  try:
    found = records[index]
  except faults.ExampleError as error:
    return error.kind
  (texts,) = found.texts.values()
  (text,) = texts
  named = [pairs.png(number) for number in range(len(IMAGES))]
  return IMAGES[named.index(found.image)], text
