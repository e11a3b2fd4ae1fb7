"""Training and curation read the same of tables with broken rows."""

import collections

import numpy as np
import pytest

from input_pipeline.sources.tables import table
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs
from tests.long import fuzz_tables

NUM_INPUTS = 300
LINES = (
  b'{"file_name": "000000.png", "texts": {"en": "a", "de": ["b", "c"]}}',
  b'{"file_name": "000000.png", "caption": {"en": {"de": "x"}}}',
  b'{"file_name": "000000.png", "caption": "\\ud800"}',
  b'{"file_name": "000000.png", "caption": "x", "caption": "y"}',
  b'{"file_name": "000000.png", "caption": "x", "score": NaN}',
  b'{"file_name": "000000.png", "caption": "\xe2\x80\x8b"}',
  b'{"file_name": "000000.png", "caption": "\xff"}',
  b'{"file_name": "000000.png", "caption": "x\\u0000y"}',
  b'{"file_name": "000000.png", "caption": true}',
  b'{"file_name": "000000.png", "caption": "k", "key": ""}',
  b'{"file_name": "000000.png", "caption": "k", "key": " "}',
  b'{"file_name": "000000.png", "caption": "k", "key": 1.0}',
  b'{"file_name": "000000.png", "caption": "k", "key": 12}',
  b'{"file_name": "000000.png", "caption": "k", "key": "\\ud800"}',
  b'{"file_name": "000000.png", "caption": "x"}{"file_name": "0"}',
  b'{"file_name": "000000.png",\n"caption": "x"}',
  b"null",
  b'000000.png,"a\nb"',
  b'000000.png,"a" b',
  b'"000000.png","x"',
  b"000000.png,\xe2\x80\x8b",
  b'000000.png,"\xff"',
  b"\xef\xbb\xbf000000.png,x",
  b"   ",
  b"\x0b",
)


@pytest.mark.slow
def test_broken_tables_are_read_alike(tmp_path):
  outcomes: collections.Counter[str] = collections.Counter()
  for number in range(NUM_INPUTS):
    folder = tmp_path / str(number)
    folder.mkdir()
    path = (fuzz_tables.json_lines, fuzz_tables.comma_separated)[number % 2](
      folder
    )
    rng = np.random.default_rng((7, number))
    for _ in range(int(rng.integers(0, 4))):
      lines = path.read_bytes().split(b"\n")
      line = LINES[int(rng.integers(len(LINES)))]
      lines.insert(int(rng.integers(1, len(lines) + 1)), line)
      path.write_bytes(b"\n".join(lines))
    if number % 5:
      fuzz_tables.corrupt(path, rng)
    source = pairs.source(
      "table", path, image=("file_name",), caption=("caption",)
    )
    trained = _outcome(
      lambda s, f: table.open_split(s, "", pairs.context(f)), source, folder
    )
    curated = _outcome(reading.open_pool, source, folder)
    if isinstance(trained, str) or isinstance(curated, str):
      assert isinstance(trained, str) == isinstance(curated, str), number
      outcomes["refused"] += 1
      continue
    expected = reading.expected_of(trained)
    rows = reading.rows_of(*curated, ("text", "language", "image"))
    assert [_pair(row) for row in rows] == [
      one if len(one) > 2 else one[0] for one in expected
    ], number
    outcomes.update(one[1] if len(one) == 2 else "pair" for one in expected)
  assert outcomes["pair"] > 3 * NUM_INPUTS
  kinds = {"refused", "record_broken", "caption_broken", "caption_missing"}
  assert kinds | {"image_missing", "file_missing"} <= outcomes.keys()


def _outcome(open_fn, source, folder):
  try:
    return open_fn(source, folder)
  except (ValueError, OSError) as error:
    return str(error)


def _pair(row):
  # A row with several faults may be named by any of them.
  if row["fault"]:
    return row["pair"]
  return row["pair"], row["language"], row["text"], row["image"]
