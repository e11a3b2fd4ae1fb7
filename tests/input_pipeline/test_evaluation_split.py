"""Examples as evaluations read them: in order, few at a time."""

import collections
import dataclasses
import gc
import io
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

from input_pipeline import evaluation_split, faults, pipeline
from input_pipeline import left_out as left_out_lib
from input_pipeline import sources as formats
from input_pipeline.images import image_ops
from input_pipeline.selecting import sample as sample_lib
from input_pipeline.sources import emoji, image_ids
from input_pipeline.storage import uids
from tests.input_pipeline import fake_records, fake_source, splits
from tests.input_pipeline.sources import pairs
from tests.input_pipeline.sources import tars as tar_files

SIZE = 8


def _png(level):
  buffer = io.BytesIO()
  Image.new("RGB", (SIZE, SIZE), (level,) * 3).save(buffer, "PNG")
  return buffer.getvalue()


@pytest.fixture
def tars(tmp_path):
  """Return a source of 23 flat images of level 10 i, and its data section."""
  members = {}
  for i in range(23):
    members[f"k{i:02}.png"] = _png(10 * i)
    members[f"k{i:02}.txt"] = f"dog {i}".encode()
  tar_files.write(tmp_path / "a.tar", members)
  source = pairs.source("webdataset", tmp_path / "a.tar")
  config = fake_source.config(tmp_path / "cache", num_threads=2)
  return config, source


def _open(config, source, **changes):
  return evaluation_split.open_split(
    config,
    dataclasses.replace(source, **changes),
    name="source",
    section="evaluate.sets.mine",
    protocol=splits.protocol(config),
  )


def test_a_broken_image_is_named(tmp_path):
  members = {"a.png": _png(1), "a.txt": b"a", "b.png": b"<html>", "b.txt": b"b"}
  tar = tar_files.write(tmp_path / "a.tar", members)
  config = fake_source.config(tmp_path / "cache")
  split = _open(config, pairs.source("webdataset", tar))
  with pytest.raises(
    ValueError,
    match=r"source: example 1 cannot be used: image_broken: .*a\.tar, b: "
    r".* it is an HTML page.*; --task=prepare --decode leaves",
  ):
    _settled(split, 2)


def _settled(split, batch_size, on_fault=None):
  """Return batches, what cannot be used left out or refused."""
  left_out = left_out_lib.LeftOut(split, range(len(split)), on_fault)
  batches = list(split.batches(batch_size))
  for batch in batches:
    for row, error in batch.broken.items():
      left_out.add(row, error)
  left_out.end()
  return batches


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_batches_are_all_examples_in_order(tars, batch_size):
  split = _open(*tars)
  batches = list(split.batches(batch_size))
  assert [len(batch.images) for batch in batches[:-1]] == [batch_size] * (
    len(batches) - 1
  )
  images = np.concatenate([batch.images for batch in batches])
  assert images.dtype == np.uint8
  assert images[:, 0, 0, 0].tolist() == [10 * i for i in range(23)]
  assert [key for batch in batches for key in batch.keys] == [
    f"k{i:02}" for i in range(23)
  ]
  texts = [text for batch in batches for text in batch.texts]
  assert [(key, text) for key, text in split.texts()] == [
    (f"k{i:02}", texts[i]) for i in range(23)
  ]
  assert list(texts[3].values()) == [("dog 3",)]
  np.testing.assert_array_equal(split.image(5), images[5])


def test_images_at_rows_are_those_of_batches(tars, tmp_path):
  split = _open(*tars)
  images = split.images([7, 2, 7])
  assert images.shape == (3, *split.image(2).shape)
  for image, row in zip(images, (7, 2, 7), strict=True):
    np.testing.assert_array_equal(image, split.image(row))
  ramp = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
  mirrored = evaluation_split.mirrored(ramp)
  np.testing.assert_array_equal(mirrored[0, 1, 3], ramp[0, 1, 0])
  np.testing.assert_array_equal(evaluation_split.mirrored(mirrored), ramp)
  members = {"a.png": b"<html>", "a.txt": b"a"}
  tar = tar_files.write(tmp_path / "b.tar", members)
  config = fake_source.config(tmp_path / "cache")
  broken = _open(config, pairs.source("webdataset", tar))
  with pytest.raises(faults.ExampleError, match="HTML"):
    broken.images([0])


def test_a_process_reads_its_own_rows_alone(tars):
  """Two processes have half of each batch; one of them none of the last."""
  split = _open(*tars)
  whole = list(split.batches(8, rows=range(3, 23)))
  assert [batch.rows for batch in whole] == [
    *(tuple(range(3, 11)), tuple(range(11, 19)), tuple(range(19, 23)))
  ]
  halves = [
    list(split.batches(8, rows=range(3, 23), places=places))
    for places in ((0, 1, 6, 7), (2, 3, 4, 5))
  ]
  for all_rows, *parts in zip(whole, *halves, strict=True):
    assert {row for part in parts for row in part.rows} == {*all_rows.rows}
    for part in parts:
      at = [all_rows.rows.index(row) for row in part.rows]
      np.testing.assert_array_equal(part.images, all_rows.images[at])
      assert part.keys == tuple(all_rows.keys[i] for i in at)
      assert part.texts == tuple(all_rows.texts[i] for i in at)
  assert halves[0][2].rows == (19, 20)
  (*_, empty) = split.batches(8, places=(7,))
  assert (empty.rows, empty.keys) == ((), ())
  assert empty.images.shape == (0, *whole[0].images.shape[1:])
  assert empty.images.dtype == np.uint8


def _sampled(records, num, **fields):
  split = evaluation_split.Split(records, None, 1, "mine", **fields)
  sample = split.sample(num)
  return [sample.records[i].key for i in range(len(sample))]


def test_a_sample_does_not_depend_on_the_order():
  records = fake_records.Records("pet", 200)
  keys = _sampled(records, 50)
  assert len(set(keys)) == 50
  numbers = [int(key.removeprefix("pet")) for key in keys]
  assert numbers == sorted(numbers)
  # Neither the first ones nor of some rhythm: about a quarter of each half.
  assert 15 <= sum(number < 100 for number in numbers) <= 35
  assert 15 <= sum(number % 2 for number in numbers) <= 35
  order = np.random.default_rng(0).permutation(200)
  shuffled = sample_lib.Sample(records, order)
  shuffled.uids = lambda: records.uids()[order]
  assert set(_sampled(shuffled, 50)) == set(keys)
  # Those of a smaller one are among them.
  assert set(_sampled(records, 20)) < set(keys) < set(_sampled(records, 51))
  assert _sampled(records, 200) == [f"pet{i}" for i in range(200)]
  split = evaluation_split.Split(records, None, 1, "mine")
  assert split.sample(200) is split
  assert split.sample(50).state() == split.sample(50).state()
  assert split.sample(50).state() != split.sample(49).state()
  assert split.sample(50).fingerprint() != split.sample(49).fingerprint()
  # Without UIDs, rows.
  records.uids = lambda: np.zeros(200, uids.UID)
  assert len(set(_sampled(records, 50))) == 50


def test_a_sample_of_held_out_images_is_by_their_names():
  records = fake_records.Records("pet", 200)
  ids = np.array([image_ids.of_bytes(b"%d" % i) for i in range(200)])
  ids = ids.astype(image_ids.DTYPE)
  chosen = _sampled(records, 50, image_ids=ids)
  assert set(chosen) != set(_sampled(records, 50))
  assert set(_sampled(records, 50, image_ids=ids[::-1])) == {
    f"pet{199 - int(key.removeprefix('pet'))}" for key in chosen
  }
  split = evaluation_split.Split(records, None, 1, "mine", image_ids=ids)
  sample = split.sample(50)
  assert sample.image_ids.tolist() == ids[sample.records.rows].tolist()
  assert sample.state() != sample.fingerprint()  # captions count


def test_few_images_are_alive_at_once(tars, monkeypatch):
  """Decoded images do not outlive their batch, but for the consumer's own."""
  lock = threading.Lock()
  counts = collections.Counter()
  decode = image_ops.decode

  class Pixels(np.ndarray):
    """An array that a weak reference can watch."""

  def gone():
    with lock:
      counts["alive"] -= 1

  def counted(data):
    pixels = decode(data).view(Pixels)
    with lock:
      counts["decoded"] += 1
      counts["alive"] += 1
      counts["most"] = max(counts["most"], counts["alive"])
    weakref.finalize(pixels, gone)
    return pixels

  monkeypatch.setattr(image_ops, "decode", counted)
  split = _open(*tars)
  assert counts["decoded"] == 0
  for batch in split.batches(4):
    assert len(batch.images) <= 4
    gc.collect()
    assert counts["alive"] <= 4
  assert counts["decoded"] == 23
  assert counts["most"] <= 8


def test_images_of_another_size_are_resized(tars):
  config, source = tars
  config = dataclasses.replace(config, image_size=5)
  (batch,) = _open(config, source).batches(23)
  assert batch.images.shape == (23, 5, 5, 3)


def test_examples_that_cannot_be_used(tars, tmp_path):
  """Evaluations refuse them by name; a search leaves them out."""
  members = {f"{i}.png": _png(i) for i in range(6)}
  members |= {f"{i}.txt": b"dog" for i in range(6)}
  members["2.png"] = b"<html>"
  members["4.png"] = _png(4)[:40]
  tar_files.write(tmp_path / "b.tar", dict(sorted(members.items())))
  split = _open(*tars, path=str(tmp_path / "b.tar"))
  with pytest.raises(ValueError, match=r"mine\.source: example 2 .*image_brok"):
    _settled(split, 3)
  broken = []
  batches = _settled(split, 3, lambda row, error: broken.append(row))
  assert broken == [2, 4]
  assert [batch.rows for batch in batches] == [(0, 1), (3, 5)]
  levels = [int(x[0, 0, 0]) for batch in batches for x in batch.images]
  assert levels == [0, 1, 3, 5]


def test_messages_name_the_field_of_the_set(tars, tmp_path):
  config, source = tars
  with pytest.raises(ValueError, match=r"^evaluate\.sets\.mine\.source\.split"):
    _open(config, source, split="val")
  with pytest.raises(ValueError, match=r"sets\.mine\.source\.path"):
    _open(config, source, path=str(tmp_path / "none.tar"))


@pytest.mark.slow
def test_held_out_images(tars, tmp_path, caplog):
  """Two sources; what cannot be used is left out, as in training."""
  config, source = tars
  both = dataclasses.replace(config, sources={"main": source, "other": source})
  protocol = splits.protocol(config)

  one, other = (
    evaluation_split.open_held_out(both, name, share=0.5, protocol=protocol)
    for name in both.sources
  )
  two = evaluation_split.joined([one, other])
  split = pipeline.split_source(both, "main", 0.5)
  assert 0 < len(one) < len(split.records)
  assert len(two) == 2 * len(one)
  assert one.image_ids.tolist() == split.ids.tolist()
  assert two.image_ids.tolist() == 2 * split.ids.tolist()
  rows = [row for batch in two.batches(3) for row in batch.rows]
  assert rows == list(range(len(two)))
  texts = [texts for _, texts in one.texts()]
  assert [texts for _, texts in two.texts()] == 2 * texts
  np.testing.assert_array_equal(two.image(len(one)), one.image(0))

  broken = dataclasses.replace(one, records=Broken(one.records))
  batches = _settled(broken, 2)
  assert [row for batch in batches for row in batch.rows] == rows[1 : len(one)]
  assert "evaluate.holdout of data.sources.main: left out" in caplog.text
  assert f"1 of {len(one)} images are left out" in caplog.text
  assert [texts for _, texts in broken.texts()] == texts[1:]


class Broken:
  """Records of which the first cannot be read."""

  def __init__(self, records):
    self.records = records

  def __len__(self):
    return len(self.records)

  def __getitem__(self, index):
    if not index:
      raise faults.ExampleError("image_missing", "no image")
    return self.records[index]


def test_all_splits_and_texts_of_the_emoji(config):
  assert tuple(splits.all_splits(config)) == emoji.SPLITS
  texts = splits.all_texts(config)
  assert set(texts) == set(emoji.LANGUAGES)
  assert all(len(names) == 3953 for names in texts.values())
  keys = sorted(
    key
    for split in splits.all_splits(config).values()
    for key, _ in split.texts()
  )
  assert len(set(keys)) == len(keys) == 3953
  firefighter = keys.index("1F469-200D-1F692")
  assert texts["en"][firefighter] == "woman firefighter"
  assert texts["fr"][firefighter] == "pompier femme"


def test_a_source_without_splits_is_one(tars):
  config, source = tars
  every = evaluation_split.open_all_splits(
    config,
    source,
    name="main",
    section="data.sources",
    protocol=splits.protocol(config),
  )
  assert {name: len(split) for name, split in every.items()} == {"main": 23}
  language = source.language
  texts = evaluation_split.all_texts(every, language)
  assert texts == tuple(f"dog {i}" for i in range(23))
  assert evaluation_split.all_texts(every, "xx") == ()


def test_emoji_are_as_rendered(config):
  examples = splits.read_split(config, "unseen_concept")
  assert examples.images.shape == (len(examples.keys), 64, 64, 3)
  # White corners on most, a drawing inside each.
  assert (examples.images[:, 0, 0] == 255).all(-1).mean() > 0.9
  assert (examples.images.min((1, 2, 3)) < 128).all()
  assert len(examples.texts["en"]) == len(examples.keys)


def test_no_examples_are_named(tars, monkeypatch):
  config, source = tars
  monkeypatch.setattr(
    formats.FORMATS["webdataset"], "open_split", lambda *_: ()
  )
  with pytest.raises(ValueError, match=r"sets\.mine\.source has no examples"):
    _open(config, source)
