"""A pool has the pairs that training's source of the same section has."""

import pickle

import numpy as np
import pytest

from curation import formats, pool, recipe
from input_pipeline import faults, sources
from tests.input_pipeline.sources import pairs


def config_of(source) -> recipe.PoolConfig:
  return recipe.PoolConfig(
    *(source.format, source.path, source.image, source.caption),
    *(source.language, source.language_field, source.uid, source.split),
  )


def open_pool(source, folder) -> pool.Pool:
  opened = formats.FORMATS[source.format].open_pool(config_of(source), folder)
  return pickle.loads(pickle.dumps(opened)), opened.shards


def rows_of(opened, shards, columns, max_rows=3, rows=None) -> list[dict]:
  found = []
  for shard in shards:
    last = -1
    for table in opened.read(shard, columns, max_rows=max_rows, rows=rows):
      assert 0 < len(table) <= max_rows
      assert set(table.column_names) == {*pool.ALWAYS, *columns}
      for name in table.column_names:
        if name in pool.TYPES:
          assert table[name].type == pool.TYPES[name]
      numbers = table["row"].to_numpy()
      assert (np.diff(numbers, prepend=last) > 0).all()
      last = numbers[-1]
      uids = pool.uids(table)
      for number, row in enumerate(table.to_pylist()):
        found.append(row | {"pair": tuple(uids[number].item())})
  return found


def expected_of(records) -> list[tuple]:
  """Return (UID, language, caption, image) or (UID, kind of fault)."""
  found = []
  for uid, index in zip(records.uids(), range(len(records)), strict=True):
    try:
      record = records[index]
    except faults.ExampleError as error:
      found.append((tuple(uid.item()), error.kind))
      continue
    for language in sorted(record.texts):
      for text in record.texts[language]:
        found.append((tuple(uid.item()), language, text, record.image))
  return found


@pytest.mark.parametrize("name", pairs.CASES)
def test_pairs_are_those_that_are_trained_on(name, tmp_path):
  case = pairs.CASES[name](tmp_path)
  place = pairs.place(tmp_path)
  records = sources.FORMATS[case.source.format].open_split(
    case.source, case.split, place
  )
  opened, shards = open_pool(case.source, tmp_path)
  columns = ("text", "language", "image", "width", "height", "caption")
  found = rows_of(opened, shards, columns)
  expected = expected_of(records)
  assert [
    (row["pair"], row["fault"].partition(":")[0])
    if row["fault"]
    else (row["pair"], row["language"], row["text"], row["image"])
    for row in found
  ] == expected
  usable = [row for row in found if not row["fault"]]
  assert {(row["width"], row["height"]) for row in usable} == {(4, 4)}
  # Without images nobody knows of one that is not there.
  texts = rows_of(opened, shards, ("text",))
  assert [row["text"] for row in texts if row["pair"] in {
    row["pair"] for row in usable
  }] == [row["text"] for row in usable]


@pytest.mark.parametrize("name", ["parquet of img2dataset", "tars", "jsonl"])
def test_chosen_rows_of_a_shard(name, tmp_path):
  case = pairs.CASES[name](tmp_path)
  opened, shards = open_pool(case.source, tmp_path)
  for columns in (("text",), ("image",), ("width",), ("text", "image"), ()):
    whole = rows_of(opened, shards[:1], columns)
    chosen = [row for row in whole if not row["fault"]][::2]
    numbers = np.array([row["row"] for row in chosen])
    assert rows_of(opened, shards[:1], columns, rows=numbers) == chosen
