"""Reads pools as lists of dicts."""

import pickle

import numpy as np

from curation import pool, pools
from input_pipeline import faults


def config_of(source) -> pool.PoolConfig:
  return pool.PoolConfig(
    *(source.format, source.path, source.image, source.caption),
    *(source.language, source.language_field, source.uid, source.split),
    encoding=source.encoding,
    image_root=source.image_root,
  )


def open_pool(source, folder) -> pool.Pool:
  opened = pools.FORMATS[source.format].open_pool(config_of(source), folder)
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


def as_pairs(rows: list[dict]) -> list[tuple]:
  """Return rows with text, language and image as `expected_of` has them."""
  return [
    (row["pair"], row["fault"].partition(":")[0])
    if row["fault"]
    else (row["pair"], row["language"], row["text"], row["image"])
    for row in rows
  ]


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
