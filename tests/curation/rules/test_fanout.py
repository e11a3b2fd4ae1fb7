"""Fan-outs and duplicates over shards, against plain dicts."""

import collections

import numpy as np
import pyarrow as pa
import pytest

from curation import operators, pool
from curation.keys import hashing
from curation.on_disk import table_keys
from curation.rules import fanout


def kept(tmp_path, op, tables):
  """Return keep of all rows of tables, a shard each, and the facts."""
  op.check("steps.it")
  parts = []
  before = operators.StepContext(tmp_path, tmp_path)
  for number, table in enumerate(tables):
    measure = op.measure(before)
    measure.add(table.select(["uid", *op.measured]))
    parts.append(tmp_path / f"part-{number}")
    measure.save(parts[-1])
  state = tmp_path / "state"
  state.mkdir()
  context = operators.StepContext(tmp_path, tmp_path, state)
  facts = op.reduce(parts, context)
  decide = op.open(context)
  verdicts = [decide(table.select(["uid", *op.columns])) for table in tables]
  return np.concatenate([verdict.keep for verdict in verdicts]), facts


def make_tables(num=600, seed=0):
  rng = np.random.default_rng(seed)
  texts = [f"caption {n}" for n in rng.integers(0, 40, num)]
  texts = [
    None if n % 50 == 0 else text.replace(" ", "  ") if n % 7 == 0 else text
    for n, text in enumerate(texts)
  ]
  urls = [f"http://{n % 23}" if n % 31 else None for n in range(num)]
  table = pa.table(
    {
      "uid": pa.array(
        [n.to_bytes(16, "big") for n in rng.permutation(num).tolist()],
        pa.binary(16),
      ),
      "text": pa.array(texts, pa.string()),
      "url": pa.array(urls, pa.string()),
      "phash": pa.array(
        rng.integers(0, 2**64, 5, np.uint64)[rng.integers(0, 5, num)]
      ),
    }
  )
  return [table.slice(0, 100), table.slice(100, 1), table.slice(101)], table


def test_images_with_too_many_texts(tmp_path):
  tables, table = make_tables()
  texts = collections.defaultdict(set)
  urls = table["url"].to_pylist()
  for url, text in zip(urls, table["text"].to_pylist(), strict=True):
    if url and text:
      texts[url].add(text)
  sizes = sorted(map(len, texts.values()))
  limit = sizes[len(sizes) // 2]
  keep, facts = kept(tmp_path, fanout.ImageFanout("url", limit, False), tables)
  expected = [len(texts.get(url, ())) <= limit for url in urls]
  assert keep.tolist() == expected
  assert facts == {
    "num_images": len(texts),
    "num_images_dropped": sum(size > limit for size in sizes),
  }


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("image", ["", "url"])
def test_texts_of_too_many_images(tmp_path, image, squeeze):
  tables, table = make_tables()
  texts = [
    " ".join(t.split()) if t and squeeze else t
    for t in table["text"].to_pylist()
  ]
  found = collections.defaultdict(list)
  for text, url in zip(texts, table["url"].to_pylist(), strict=True):
    if text and (url or not image):
      found[text].append(url)
  counts = {t: len(set(u) if image else u) for t, u in found.items()}
  limit = sorted(counts.values())[len(counts) // 2]
  op = fanout.TextFanout(image, limit, squeeze, False)
  keep, facts = kept(tmp_path, op, tables)
  assert keep.tolist() == [counts.get(text, 0) <= limit for text in texts]
  assert facts["num_texts"] == len(counts)
  assert facts["num_texts_dropped"] == sum(n > limit for n in counts.values())


def test_one_of_the_pairs_that_are_the_same_stays(tmp_path):
  tables, table = make_tables()
  uids = pool.uids(table)
  ranks = hashing.h64(uids, 3).tolist()
  rows = collections.defaultdict(list)
  for row, (phash, text) in enumerate(
    zip(table["phash"].to_pylist(), table["text"].to_pylist(), strict=True)
  ):
    rows[row if text is None else (phash, " ".join(text.split()))].append(row)
  winners = [min(found, key=ranks.__getitem__) for found in rows.values()]
  op = fanout.DuplicatePairs(("phash", "text"), True, 3)
  keep, facts = kept(tmp_path, op, tables)
  assert np.flatnonzero(keep).tolist() == sorted(winners)
  assert facts["num_groups_of_several"] == sum(
    len(found) > 1 for found in rows.values()
  )


def test_a_value_moved_to_another_column_is_another_key():
  table = pa.table({"a": ["x", "y"], "b": ["y", "x"]})
  keys, _ = table_keys.of(table, ("a", "b"))
  assert keys[0] != keys[1]
  numbers = pa.table({"a": pa.array([-1, 0, 1], pa.int8())})
  assert len(set(table_keys.of(numbers, ("a",))[0].tolist())) == 3
  with pytest.raises(
    ValueError, match="column a must be of texts.* got double"
  ):
    table_keys.of(pa.table({"a": [0.5]}), ("a",))


@pytest.mark.parametrize(
  "kind",
  [
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.dictionary(pa.int32(), pa.string()),
  ],
)
def test_an_empty_value_is_no_key(kind):
  values = ["", None, "a", "a", " "]
  if kind == pa.binary():
    values[4] = ""
  urls = pa.array(values, kind)
  _, has_key = table_keys.of(pa.table({"url": urls}), ("url",))
  assert has_key.tolist() == [False, False, True, True, False]


def test_pairs_without_an_address_are_not_of_one_image(tmp_path):
  texts = [f"caption {i}" for i in range(8)]
  uids = pa.array([n.to_bytes(16, "big") for n in range(8)], pa.binary(16))
  urls = ["", " ", *["a"] * 4, "", None]
  table = pa.table({"uid": uids, "text": texts, "url": urls})
  op = fanout.ImageFanout("url", 3, False)
  keep, facts = kept(tmp_path, op, [table])
  assert keep.tolist() == [True, True, *[False] * 4, True, True]
  assert facts["num_images"] == 1


@pytest.mark.parametrize(
  ("op", "message"),
  [
    (fanout.ImageFanout("", 10, False), "steps.it.image must name"),
    (fanout.ImageFanout("url", 0, False), "steps.it.max_texts .* got 0"),
    (fanout.TextFanout("", 0, False, False), "steps.it.max_images .* got 0"),
    (fanout.DuplicatePairs((), False, 0), "steps.it.same .* got"),
  ],
)
def test_values_of_no_use(op, message):
  with pytest.raises(ValueError, match=message):
    op.check("steps.it")
