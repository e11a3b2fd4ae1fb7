"""A pool, its selection, and training on the selection by the same section."""

import dataclasses
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from configs import base
from curation import operators, pools, recipe, runner
from curation import pool as pool_lib
from input_pipeline import faults, pipeline
from tests.curation.pools import reading
from tests.input_pipeline import fake_source
from tests.input_pipeline.selecting import test_balanced
from tests.input_pipeline.sources import pairs, tars
from training import config as config_lib

NUM = 12
NO_IMAGE, NO_CAPTION = 5, 9


@dataclasses.dataclass(frozen=True)
class Odd(operators.Filter):
  """Keep the pairs of odd numbers, as their captions say."""

  columns = ("text", "width")

  def open(self, place):
    def decide(table):
      assert set(table["width"].to_pylist()) == {4}
      numbers = [int(text[8:]) for text in table["text"].to_pylist()]
      return operators.Verdict(np.array(numbers) % 2 == 1)

    return decide


def _captions(index):
  return "" if index == NO_CAPTION else f"caption {index}"


def _write_tars(folder):
  for number in range(3):
    members = {}
    for i in range(4 * number, 4 * number + 4):
      if i != NO_IMAGE:
        members[f"{i}.png"] = pairs.png(i)
      members[f"{i}.txt"] = _captions(i).encode()
      members[f"{i}.json"] = json.dumps({"n": i}).encode()
    tars.write(folder / f"{number}.tar", members)
  return pairs.source("webdataset", folder / "*.tar")


def _write_parquet(folder):
  for number in range(2):
    some = range(6 * number, 6 * number + 6)
    table = {
      "png": [None if i == NO_IMAGE else pairs.png(i) for i in some],
      "caption": [_captions(i) for i in some],
    }
    path = folder / f"{number}.parquet"
    parquet.write_table(pa.table(table), path, row_group_size=4)
  return pairs.source("parquet", folder / "*.parquet")


def _write_table(folder):
  lines = []
  for i in range(NUM):
    (folder / f"{i}.png").write_bytes(pairs.png(i))
    row = {"image": f"{i}.png", "caption": _captions(i)}
    lines.append(json.dumps(row | ({"image": ""} if i == NO_IMAGE else {})))
  (folder / "captions.jsonl").write_text("\n".join(lines))
  return pairs.source("table", folder)


def _write_folder(folder):
  for i in range(NUM):
    (folder / f"{i % 3}").mkdir(exist_ok=True)
    if i != NO_IMAGE:
      (folder / f"{i % 3}/{i}.png").write_bytes(pairs.png(i))
    (folder / f"{i % 3}/{i}.txt").write_text(_captions(i))
  return pairs.source("folder", folder)


def data_of(source, cache_dir) -> pipeline.DataConfig:
  values = base.get_config()
  values.data = fake_source_values(cache_dir)
  values.data.sources.main = dataclasses.asdict(source)
  return config_lib.from_mapping(values.to_dict()).data


def fake_source_values(cache_dir):
  values = base.get_config().data
  values.cache_dir = str(cache_dir)
  values.image_size = 8
  values.tokenizer = "bytes"
  return values


@pytest.mark.parametrize(
  "write", [_write_tars, _write_parquet, _write_table, _write_folder]
)
def test_what_is_kept_is_what_is_trained_on(write, tmp_path, capsys):
  folder = tmp_path / "pool"
  folder.mkdir()
  source = write(folder)
  curated = recipe.Recipe(
    pool=reading.config_of(source),
    cache_dir=str(tmp_path / "cache"),
    max_attempts=1,
    steps={"odd": Odd()},
  )
  runner.run(curated, tmp_path / "work", engine="inline", num_workers=0)
  assert "left out by read: caption_missing 1" in capsys.readouterr().out
  selection = tmp_path / "work/selection.npy"
  assert np.load(selection, allow_pickle=False).dtype == "u8,u8"
  source = dataclasses.replace(source, subset=str(selection))
  data = data_of(source, tmp_path / "cache")
  expected = {f"caption {i}" for i in range(1, NUM, 2)}
  expected -= {f"caption {i}" for i in (NO_IMAGE, NO_CAPTION)}
  assert len(pipeline.open_sources(data)["main"]) == len(expected)
  dataset = pipeline.make_train_dataset(data, batch_size=len(expected), seed=0)
  (batch,) = itertools.islice(dataset, 1)
  assert batch["faults"] == []
  assert set(fake_source.captions(data, [batch])) == expected


CAPTIONS = [["caption 0"], ["caption 1"], ["caption 2", "caption 3"]]
CHANCES = [[1.0], [0.0], [0.0, 0.3]]


@pytest.fixture
def balanced_data(tmp_path):
  source = test_balanced.make_source(tmp_path, CAPTIONS, CHANCES)
  return data_of(source, tmp_path / "cache")


def test_balanced_batches_are_the_same_wherever_they_are_made(balanced_data):
  make = pipeline.make_train_dataset
  whole = list(itertools.islice(make(balanced_data, batch_size=8, seed=0), 12))
  drawn = fake_source.captions(balanced_data, whole)
  counts = {text: drawn.count(text) for text in set(drawn)}
  # One caption of two, kept in 0.3 of the draws: 0.15 of what "caption 0" has.
  assert set(counts) == {"caption 0", "caption 3"}
  # 12.5 of 96 are expected; 3.3 is a standard deviation.
  assert 2 < counts["caption 3"] < 23
  assert not any(batch["faults"] for batch in whole)
  rows = (1, 2, 6)
  part = iter(make(balanced_data, batch_size=8, seed=0, rows=rows))
  part.set_state({"next_index": 9})
  for batch in whole[9:]:
    got = next(part)
    for name in ("images", "tokens"):
      np.testing.assert_array_equal(got[name], batch[name][list(rows)])


def test_a_fault_is_replaced_by_what_is_kept(balanced_data, monkeypatch):
  opened = pipeline.open_sources(balanced_data)
  inner = opened["main"]._records
  read = type(inner).__getitem__

  def broken(self, index):
    if index == 2:
      raise faults.ExampleError("image_broken", "of all of them")
    return read(self, index)

  monkeypatch.setattr(type(inner), "__getitem__", broken)
  dataset = pipeline.make_train_dataset(
    balanced_data, batch_size=8, seed=0, opened=opened
  )
  batches = list(itertools.islice(dataset, 10))
  drawn = fake_source.captions(balanced_data, batches)
  assert set(drawn) == {"caption 0"}
  found = [fault for batch in batches for fault in batch["faults"]]
  assert found
  assert {fault.index for fault in found} == {1}


def test_only_captions_that_are_kept_are_trained_on(tmp_path):
  (tmp_path / "pool").mkdir()
  members = {}
  for i in range(4):
    texts = [f"caption {n}" for n in range(3 * i, 3 * i + 3)]
    members[f"{i}.png"] = pairs.png(i)
    members[f"{i}.json"] = json.dumps({"texts": texts}).encode()
  tars.write(tmp_path / "pool/0.tar", members)
  source = pairs.source("webdataset", tmp_path / "pool/0.tar")
  config = reading.config_of(source)
  curated = recipe.Recipe(config, str(tmp_path / "cache"), 1, {"odd": Odd()})
  runner.run(curated, tmp_path / "work", engine="inline", num_workers=0)
  assert len(np.load(tmp_path / "work/selection.npy")) == 4
  source = dataclasses.replace(source, keep=str(tmp_path / "work/keep.npy"))
  data = data_of(source, tmp_path / "cache")
  batches = itertools.islice(
    pipeline.make_train_dataset(data, batch_size=8, seed=0), 8
  )
  # 64 draws: none of a caption that is drawn once in 8 has a chance of 2e-4.
  drawn = set(fake_source.captions(data, batches))
  assert drawn == {f"caption {n}" for n in range(1, 12, 2)}


def test_emoji_in_several_languages_are_a_pool(shared_dir):
  config = pool_lib.PoolConfig(
    *("emoji", "", (), (), "en", "", ""),
    split="compositional",
    languages=("de", "en"),
  )
  opened = pools.FORMATS["emoji"].open_pool(config, shared_dir / "cache")
  assert sum(shard.stop - shard.start for shard in opened.shards) == 304
  (table, *_) = opened.read(
    opened.shards[0], ["text", "language", "caption", "width"], max_rows=10
  )
  assert table["language"].to_pylist() == ["de", "en"] * 5
  assert table["caption"].to_pylist() == [1, 2] * 5
  assert set(table["width"].to_pylist()) == {64}


@dataclasses.dataclass(frozen=True)
class Chances(Odd):
  """Give each pair its number in tenths as its probability."""

  @property
  def signals(self):
    return ("keep_probability",)

  def open(self, place):
    odd = super().open(place)

    def decide(table):
      numbers = [int(text[8:]) for text in table["text"].to_pylist()]
      chances = np.array(numbers, np.float32) / 10
      return operators.Verdict(odd(table).keep, {"keep_probability": chances})

    return decide


def test_curation_writes_probabilities_for_the_loader(tmp_path):
  (tmp_path / "pool").mkdir()
  source = _write_tars(tmp_path / "pool")
  for steps in ({"balance": Chances()}, {"odd": Odd(), "balance": Chances()}):
    curated = recipe.Recipe(
      *(reading.config_of(source), str(tmp_path / "cache"), 1, steps)
    )
    runner.run(curated, tmp_path / "work", engine="inline", num_workers=0)
    keep = np.load(tmp_path / "work/keep.npy", allow_pickle=False)
    # 0 has none; what another step dropped is not drawn either.
    found = [i for i in range(1, NUM) if i not in (NO_IMAGE, NO_CAPTION)]
    found = [i for i in found if len(steps) == 1 or i % 2]
    expected = sorted(np.float32(i) / np.float32(10) for i in found)
    assert sorted(keep["keep"]) == expected
  curated = dataclasses.replace(curated, steps={"odd": Odd()})
  runner.run(curated, tmp_path / "work", engine="inline", num_workers=0)
  assert not (tmp_path / "work/keep.npy").exists()
