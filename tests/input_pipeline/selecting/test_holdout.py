"""Shares of sources that training leaves out, and what they depend on."""

import csv
import dataclasses
import json
import random

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from input_pipeline import faults, pipeline, sources
from input_pipeline.preparing import conversion
from input_pipeline.selecting import balanced, holdout
from input_pipeline.sources import image_ids, named_file, record
from input_pipeline.storage import files
from input_pipeline.storage import uids as uids_lib
from tests.input_pipeline import fake_source
from tests.input_pipeline.sources import pairs, tars

NUM = 40  # images, of three captions each
SHARE = 0.25


def _png(index):
  # Of its own where colours come again.
  return pairs.png(index % 30) + b"x" * index


def _texts(index):
  return [f"{index} {number}" for number in range(3)]


def _rows(seed):
  rows = [(index, text) for index in range(NUM) for text in _texts(index)]
  random.Random(seed).shuffle(rows)
  return rows


def _write_images(folder):
  for index in range(NUM):
    path = folder / f"{index % 3}" / f"{index}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_png(index))


def _folder(folder):
  _write_images(folder)
  for index in range(NUM):
    path = folder / f"{index % 3}" / f"{index}.json"
    path.write_text(json.dumps({"caption": _texts(index)}))
  return pairs.source("folder", folder)


def _table(folder, seed=0):
  """Write a row a caption; a path is spelt in three ways."""
  _write_images(folder)
  with open(folder / "captions.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["image", "caption"])
    for index, text in _rows(seed):
      path = f"{index % 3}/{index}.png"
      prefix = ("", "./", f"x/../{''}")[int(text[-1])]
      writer.writerow([prefix + path, text])
  return pairs.source("table", folder)


def _tars(folder, num=1, **fields):
  """Write an example a caption, each with the image in it."""
  rows = _rows(num)
  for shard in range(num):
    members = {}
    for number, (index, text) in enumerate(rows[shard::num]):
      members[f"{shard}-{number}.png"] = _png(index)
      members[f"{shard}-{number}.txt"] = text.encode()
      members[f"{shard}-{number}.json"] = json.dumps({"id": index}).encode()
    tars.write(folder / f"{shard}.tar", members)
  return pairs.source("webdataset", folder / "*.tar", **fields)


def _parquet(folder, num=1, **fields):
  rows = _rows(num)
  for shard in range(num):
    table = pyarrow.Table.from_pylist(
      [
        {"image": {"bytes": _png(index)}, "caption": text, "id": index}
        for index, text in rows[shard::num]
      ]
    )
    parquet.write_table(table, folder / f"{shard}.parquet", row_group_size=7)
  return pairs.source("parquet", folder / "*.parquet", **fields)


def _prepared(folder):
  (folder / "origin").mkdir()
  return _convert(folder, _table(folder / "origin"))


def _convert(folder, source):
  data = _data(folder, source)
  conversion.run(
    data,
    str(folder / "prepared"),
    num_workers=0,
    shard_examples=17,
    decode=False,
    as_json=True,
  )
  return pairs.source("array_record", folder / "prepared", split="train")


WRITERS = {
  "folder": _folder,
  "table": _table,
  "table in another order": lambda folder: _table(folder, seed=1),
  "tar": _tars,
  "three tars": lambda folder: _tars(folder, 3),
  "tars with UIDs of images": lambda folder: _tars(folder, 3, uid="json.id"),
  "Parquet": _parquet,
  "three files of Parquet": lambda folder: _parquet(folder, 3),
  "Parquet with UIDs of images": lambda folder: _parquet(folder, 2, uid="id"),
  "prepared folder": _prepared,
  "prepared tars": lambda folder: _convert(folder, _tars(folder)),
}


def _data(folder, source, **changes):
  """Return a section `data` with a source "main"."""
  config = fake_source.config(folder / "cache", **changes)
  return dataclasses.replace(config, sources={"main": source})


def _split(folder, source, share=SHARE):
  return pipeline.split_source(_data(folder, source), "main", share)


def _images(records):
  """Return the images of some records, by the numbers in their captions."""
  return sorted(
    int(text.split()[0])
    for index in range(len(records))
    for text in records[index].texts["en"]
  )


# The images that the names say, written down: nothing else may move them.
_EXPECTED = [
  index
  for index in range(NUM)
  if int.from_bytes(image_ids.of_bytes(_png(index))[:8]) < 2**62
]


@pytest.mark.parametrize("writer", WRITERS)
def test_formats_orders_and_shards_hold_out_the_same(tmp_path, writer):
  assert 5 <= len(_EXPECTED) <= 15
  source = WRITERS[writer](tmp_path)
  made = _split(tmp_path, source)
  images = made.images()
  assert len(images) == len(_EXPECTED)
  assert _images(images) == sorted(3 * _EXPECTED)
  # One image with all its captions, not one of three alike.
  for index in range(len(images)):
    number = int(images[index].texts["en"][0].split()[0])
    assert sorted(images[index].texts["en"]) == _texts(number)
    assert images[index].image == _png(number)
    assert images.ids[index] == image_ids.of_bytes(_png(number))
  rest = sorted({*range(NUM)} - {*_EXPECTED})
  assert _images(made.rest) == sorted(3 * rest)
  assert made.facts()["images"] == len(_EXPECTED)


def test_facts_are_those_of_the_images_in_any_order(tmp_path):
  found = []
  for name in ("three tars", "table", "prepared folder"):
    folder = tmp_path / name
    folder.mkdir()
    found.append(_split(folder, WRITERS[name](folder)).facts())
  assert found[0] == found[1] == found[2]
  assert found[0]["examples"] == 3 * len(_EXPECTED)
  assert (
    _split(
      tmp_path / "table", pairs.source("table", tmp_path / "table"), 0.3
    ).facts()
    != found[0]
  )


def test_a_smaller_share_is_part_of_a_larger_one(tmp_path):
  source = _folder(tmp_path)
  before, shares = set(), (0.1, 0.2, 0.25, 0.5, 0.9)
  for share in shares:
    now = set(_images(_split(tmp_path, source, share).images()))
    assert before < now
    before = now


class Numbered:
  """Records without a file, named by their numbers; counts reads of images."""

  def __init__(self, num, images=None, broken=()):
    self.num, self.images, self.broken = num, images or num, dict(broken)
    self.read = []

  def __len__(self):
    return self.num

  def __getitem__(self, index):
    image = b"%d" % (index % self.images)
    return record.Record(str(index), image, {"en": (f"{index} x",)})

  def image_id(self, index):
    self.read.append(index)
    if index in self.broken:
      raise faults.ExampleError(self.broken[index], "broken")
    return self[index].image_id()

  def fingerprint(self):
    return f"numbered {self.num} {self.images}"

  def path_of(self, index):
    return "numbered"

  def uids(self):
    return np.array(
      [uids_lib.uid(str(i)) for i in range(self.num)], uids_lib.UID
    )


def _of(tmp_path, records, share, path="x", **fields):
  source = pairs.source("table", path, **fields)
  return holdout.split(records, source, pairs.context(tmp_path), share)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.75])
def test_the_share_is_that_of_chance(tmp_path, share):
  num = 20_000
  made = _of(tmp_path, Numbered(num), share)
  deviation = np.sqrt(num * share * (1 - share))
  assert abs(len(made.rows) - num * share) < 4 * deviation
  assert len(made.rest) + len(made.rows) == num


@pytest.mark.parametrize(("num", "share"), [(3, 1e-9), (1, 0.5), (4, 1 - 1e-9)])
def test_too_few_images(tmp_path, num, share):
  with pytest.raises(
    ValueError,
    match=rf"evaluate.holdout={share} holds out \d+ of the {3 * num} examples "
    rf"of data.sources.main, which have {num} images; at least one",
  ):
    _of(tmp_path, Numbered(3 * num, num), share)


def test_nothing_is_read_without_a_share(tmp_path):
  records = Numbered(5)
  made = _of(tmp_path, records, 0.0)
  assert made.rest is records
  assert not records.read
  assert not (tmp_path / "cache").exists()


def test_names_are_made_once(tmp_path, capsys):
  records = Numbered(100)
  first = _of(tmp_path, records, 0.5)
  assert sorted(records.read) == list(range(100))
  shown = "Reading images of data.sources.main for evaluate.holdout: 100/100"
  assert shown in capsys.readouterr().err
  again = _of(tmp_path, records, 0.25)
  assert len(records.read) == 100
  assert set(again.rows.tolist()) < set(first.rows.tolist())
  # Another image of the same examples has other names.
  _of(tmp_path, records, 0.5, image=("png",))
  assert len(records.read) == 200


def test_killed_and_called_again(tmp_path, monkeypatch):
  monkeypatch.setattr(holdout, "_CHUNK", 8)
  wanted = _of(tmp_path / "whole", Numbered(50), 0.5).rows
  records = Numbered(50)
  name = records.image_id

  def killed(index):
    if index == 29:
      raise KeyboardInterrupt
    return name(index)

  monkeypatch.setattr(records, "image_id", killed)
  with pytest.raises(KeyboardInterrupt):
    _of(tmp_path, records, 0.5)
  (part,) = (tmp_path / "cache" / "image_ids").glob("*.part")
  assert part.stat().st_size == 24 * 16
  with open(part, "ab") as file:
    file.write(b"half a name")
  records = Numbered(50)
  np.testing.assert_array_equal(_of(tmp_path, records, 0.5).rows, wanted)
  assert min(records.read) == 24
  assert not part.exists()


def test_images_that_cannot_be_read(tmp_path, caplog):
  """They are in one part or the other, always the same."""
  broken = {3: "image_missing", 7: "file_missing", 9: "read_failed"}
  made = _of(tmp_path, Numbered(30, broken=broken), 0.5)
  assert "3 of 30 images of data.sources.main cannot be read" in caplog.text
  again = _of(tmp_path / "again", Numbered(30, broken=broken), 0.5)
  np.testing.assert_array_equal(made.rows, again.rows)
  assert not (made.ids == np.bytes_(b"")).any()
  # Elsewhere another try may succeed, and would split otherwise.
  with pytest.raises(
    OSError, match="data.sources.main cannot be read now: bro"
  ):
    _of(tmp_path / "far", Numbered(30, broken=broken), 0.5, path="gs://a/b")


def test_selections_come_first(tmp_path):
  source = _tars(tmp_path)
  records = sources.FORMATS["webdataset"].open_split(
    source, "", pairs.context(tmp_path)
  )
  chosen = np.unique(records.uids()[::2])
  np.save(tmp_path / "subset.npy", chosen)
  subset = dataclasses.replace(source, subset=str(tmp_path / "subset.npy"))
  made = _split(tmp_path, subset)
  part = set(_images(made.images()))
  assert part <= {*_EXPECTED}
  assert not part & {*_images(made.rest)}
  assert len(made.rows) + len(made.rest) == len(chosen)

  keep = np.zeros(len(chosen), balanced.KEEP)
  keep["f0"], keep["f1"], keep["keep"] = chosen["f0"], chosen["f1"], 0.5
  np.save(tmp_path / "keep.npy", keep)
  kept = dataclasses.replace(source, keep=str(tmp_path / "keep.npy"))
  both = _split(tmp_path, kept)
  assert isinstance(both.rest, balanced.Records)
  assert _images(both.images()) == _images(made.images())
  assert _images(both.rest) == _images(made.rest)
  # Draws replace one example by another, of those that are left.
  drawn = {
    both.rest.draw(0, position, 0, position % len(both.rest))[0]
    for position in range(2000)
  }
  assert drawn == {*range(len(both.rest))}
  again = _split(tmp_path, kept)
  assert again.rest.draw(0, 5, 0, 5) == both.rest.draw(0, 5, 0, 5)


def test_images_with_one_uid_are_held_out_together(tmp_path):
  """As two crops of a photograph with its number."""
  for index in range(60):
    (tmp_path / f"{index}.png").write_bytes(_png(index))
  lines = [
    {"image": f"{index}.png", "caption": f"{index} x", "photo": index // 2}
    for index in range(60)
  ]
  table = tmp_path / "captions.jsonl"
  table.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  source = pairs.source("table", tmp_path, uid="photo")
  made = _split(tmp_path, source)
  held = {index // 2 for index in _images(made.images())}
  assert held
  assert not held & {index // 2 for index in _images(made.rest)}
  assert len(made.images()) == len(held) == len(made.rows) // 2
  # And after --task=prepare, whose records have no field of UIDs.
  after = _split(tmp_path, _convert(tmp_path, source))
  assert _images(after.images()) == _images(made.images())
  # Keys that begin again in each file say nothing about images.
  plain = _split(tmp_path, dataclasses.replace(source, uid="file+photo"))
  assert len(plain.images()) == len(plain.rows)


def test_addresses_are_not_read(tmp_path, monkeypatch):
  urls = [f"https://example.com/{i % NUM}.jpg" for i in range(3 * NUM)]
  urls[1] = "http://EXAMPLE.com:80/1.jpg#x"
  lines = [
    {"image": url, "caption": f"{i % NUM} {i // NUM}"}
    for i, url in enumerate(urls)
  ]
  table = tmp_path / "captions.jsonl"
  table.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  parquet.write_table(pyarrow.Table.from_pylist(lines), tmp_path / "a.parquet")
  found = []

  def read(path):
    found.append(path)
    return _png(int(path.rpartition("/")[2].partition(".")[0]))

  read_file = files.read
  monkeypatch.setattr(
    files,
    "read",
    lambda path: read(path) if path.startswith("http") else read_file(path),
  )
  source = pairs.source("table", table)
  data = _data(tmp_path, source)
  opened = sources.FORMATS["table"].open_split(source, "", data.context("main"))
  made = holdout.split(opened, source, data.context("main"), SHARE)
  assert not found
  expected = [
    index
    for index in range(NUM)
    if int.from_bytes(
      image_ids.of_address(f"https://example.com/{index}.jpg")[:8]
    )
    < 2**62
  ]
  assert _images(made.images()) == sorted(3 * expected)
  rows = _split(tmp_path, pairs.source("parquet", tmp_path / "a.parquet"))
  assert _images(rows.images()) == sorted(3 * expected)
  # Prepared, they are bytes, and are held out by their addresses still.
  after = _split(tmp_path, _convert(tmp_path, source))
  assert _images(after.images()) == sorted(3 * expected)


def test_names_of_a_prepared_folder_are_not_read_again(tmp_path, monkeypatch):
  source = _prepared(tmp_path)
  records = _split(tmp_path, source, 0.0).rest
  monkeypatch.setattr(
    image_ids, "of_bytes", lambda image: pytest.fail("an image was read")
  )
  assert _images(_split(tmp_path, source).images()) == sorted(3 * _EXPECTED)
  # A prepared folder that is prepared again keeps its names.
  path = tmp_path / "prepared" / "train.image_ids.npy"
  again = tmp_path / "again"
  again.mkdir()
  monkeypatch.setattr(named_file, "read", None)
  _convert(again, source)
  copy = again / "prepared" / "train.image_ids.npy"
  assert copy.read_bytes() == path.read_bytes()
  assert len(records) == 3 * NUM


def test_an_image_of_which_one_example_is_broken():
  records = Numbered(6, 2)
  get = records.__class__.__getitem__

  class Broken(Numbered):
    def __getitem__(self, index):
      if index in (0, 1, 3, 5):
        raise faults.ExampleError("caption_missing", f"fault of {index}")
      return get(self, index)

  ids = np.array([records.image_id(i) for i in range(6)], image_ids.DTYPE)
  images = holdout.Images(Broken(6, 2), np.arange(6), ids)
  assert len(images) == 2
  assert images[0].texts == {"en": ("2 x", "4 x")}
  with pytest.raises(faults.ExampleError, match="fault of 1"):
    images[1]
  with pytest.raises(IndexError):
    images[2]
  both = holdout.Joined(
    [images, holdout.Images(Numbered(6, 2), np.arange(6), ids)]
  )
  assert len(both) == 4
  assert both[2].texts == {"en": ("0 x", "2 x", "4 x")}
