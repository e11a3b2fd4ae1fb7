"""Examples of tars: the right pairs, or a fault of the right kind."""

import json
import os
import pickle
import random
import tarfile
import threading

import fsspec
import hypothesis
import pytest
from hypothesis import strategies

from configs.parts import sources as source_configs
from input_pipeline import faults
from input_pipeline.sources import record, source_config, webdataset
from input_pipeline.storage import uids as uids_lib
from tests.input_pipeline.sources import tars
from tests.input_pipeline.storage import test_tar_headers

# The least that is an example.
PAIR = {"k.jpg": b"image", "k.txt": b"a dog"}


def _kind(call, *args) -> str:
  with pytest.raises(faults.ExampleError) as caught:
    call(*args)
  return caught.value.kind


@pytest.mark.parametrize(
  "form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_img2dataset(tmp_path, form):
  for shard in range(2):
    members = {}
    for i in range(3):
      # The second is longer than a header has room for.
      key = f"{shard:05d}{i:04d}" + "x" * 150 * (form and i % 2)
      members |= {
        f"{key}.jpg": f"image {key}".encode() * 50,
        f"{key}.txt": f"a {key}\n".encode(),
        f"{key}.json": json.dumps({"caption": "not this", "key": key}).encode(),
      }
    tars.write(tmp_path / f"{shard:05d}.tar", members, form)
  records = tars.opened(tmp_path / "{00000..00001}.tar", tmp_path / "cache")
  assert len(records) == 6
  for index in range(6):
    found = records[index]
    assert found.image == f"image {found.key}".encode() * 50
    assert found.texts == {"en": (f"a {found.key}",)}
    assert tuple(records.uids()[index]) == uids_lib.uid(found.key)
  assert [records[i].key[:9] for i in (0, 3, 5)] == [
    *("000000000", "000010000", "000010002")
  ]


def test_split_is_refused(tmp_path):
  source = source_config.SourceConfig(
    **source_configs.source(path="x").to_dict()
  )
  context = source_config.SourceContext("main", tmp_path, 8)
  assert webdataset.splits(source, context) == ()
  with pytest.raises(ValueError, match='main.split must be "".*got .train'):
    webdataset.open_split(source, "train", context)


@pytest.mark.parametrize(
  ("members", "kind"),
  [
    ({"k.txt": b"a dog"}, "image_missing"),
    ({"k.jpg": b"", "k.txt": b"a dog"}, "image_missing"),
    ({"k.jpg": b"image"}, "caption_missing"),
    ({"k.jpg": b"image", "k.txt": b" \n"}, "caption_missing"),
    ({"k.jpg": b"image", "k.json": b"{}"}, "caption_missing"),
    ({"k.jpg": b"image", "k.json": b"[1]"}, "caption_missing"),
    ({"k.jpg": b"image", "k.json": b'{"caption": 3}'}, "caption_missing"),
    ({"k.jpg": b"image", "k.json": b'{"texts": [[], [1]]}'}, "caption_missing"),
    ({"k.jpg": b"image", "k.json": b"{"}, "caption_broken"),
    ({"k.jpg": b"image", "k.json": b"[" * 9999}, "caption_broken"),
    ({"k.jpg": b"image", "k.txt": b"caf\xe9"}, "caption_broken"),
    (
      {"k.jpg": b"image", "k.json": b'{"caption": "\\ud800"}'},
      "caption_broken",
    ),
    (PAIR | {"k.pyd": b"x"}, "unsafe_member"),
    (PAIR | {"k.features.PKL": b"x"}, "unsafe_member"),
    (PAIR | {"k.pth.gz": b"x"}, "unsafe_member"),
    ({"../k.jpg": b"image", "../k.txt": b"a"}, "unsafe_member"),
    ({"a/../../k.jpg": b"image", "a/../../k.txt": b"a"}, "unsafe_member"),
    ({"/k.jpg": b"image", "/k.txt": b"a"}, "unsafe_member"),
    ([*PAIR.items(), ("k.jpg", b"other")], "member_twice"),
    ([*PAIR.items(), ("k.txt", b"other")], "member_twice"),
  ],
)
def test_faults(tmp_path, members, kind):
  assert _kind(tars.one, tmp_path, members) == kind


def test_what_belongs_to_no_example(tmp_path):
  path = tmp_path / "x.tar"
  with tarfile.open(path, "w") as tar:
    for name, kind in (
      *(("d", tarfile.DIRTYPE), ("d/.x.jpg", tarfile.REGTYPE)),
      *(("d/k.jpg", None), ("d/link", tarfile.SYMTYPE), ("d/k.txt", None)),
      *(("d/README", tarfile.REGTYPE), ("d/f.jpg", tarfile.FIFOTYPE)),
      ("__MACOSX/d/._k.jpg", tarfile.REGTYPE),
    ):
      info = tarfile.TarInfo(name)
      if kind is None:
        (tmp_path / "file").write_bytes(b"x")
        tar.add(tmp_path / "file", name)
        continue
      info.type, info.linkname = kind, "/etc/passwd"
      tar.addfile(info)
  records = tars.opened(path, tmp_path / "cache")
  assert len(records) == 1
  assert records[0] == record.Record("d/k", b"x", {"en": ("x",)})


@pytest.mark.parametrize("uid", ["", "json.uid"])
def test_members_apart_are_one_example(tmp_path, uid):
  members = tars.examples(0, 20)
  expected = [
    tars.one(tmp_path, dict(list(members.items())[i : i + 3]))
    for i in range(0, len(members), 3)
  ]
  for order in (
    sorted(members, key=lambda name: name.rpartition(".")[2]),
    sorted(members, key=lambda name: name.rpartition(".")[2], reverse=True),
    random.Random(0).sample(list(members), len(members)),
  ):
    tars.write(tmp_path / "x.tar", [(name, members[name]) for name in order])
    records = tars.opened(tmp_path / "x.tar", tmp_path / "cache", uid=uid)
    found = [records[i] for i in range(len(records))]
    assert sorted(found, key=lambda one: one.key) == expected
    for record_, number in zip(found, records.uids(), strict=True):
      key = record_.key
      wanted = (0, int(key)) if uid else uids_lib.uid(key)
      assert tuple(number) == wanted


def test_links_are_named(tmp_path):
  (tmp_path / "k.jpg").write_bytes(b"image")
  os.link(tmp_path / "k.jpg", tmp_path / "l.jpg")
  os.symlink("k.jpg", tmp_path / "m.jpg")
  (tmp_path / "k.txt").write_bytes(b"text")
  with tarfile.open(tmp_path / "x.tar", "w") as tar:
    for name in ("k.jpg", "k.txt", "l.jpg", "m.jpg"):
      tar.add(tmp_path / name, name)
  records = tars.opened(tmp_path / "x.tar", tmp_path / "cache")
  assert records[0].image == b"image"
  for index, message in (
    (1, "l.jpg is a hard link, .*tar --hard-dereference"),
    (2, "m.jpg is a symbolic link, .*tar --dereference"),
  ):
    with pytest.raises(faults.ExampleError, match=message) as caught:
      records[index]
    assert caught.value.kind == "member_link"


def test_joined_tars(tmp_path):
  # Both tars have the same keys: each numbers its examples from 0.
  first, second = tars.data(tars.examples(0, 3)), tars.data(tars.examples(3, 5))
  again = tars.data({"0000.txt": b"other", "0000.jpg": b"other image"})
  path = tmp_path / "x.tar"
  path.write_bytes(first + second + again)
  records = tars.opened(path, tmp_path / "cache")
  found = [records[i] for i in range(len(records))]
  assert [one.key for one in found] == [
    *("0000", "0001", "0002", "0003", "0004", "0000")
  ]
  assert found[4].image == b"image 0004" * 5
  assert found[5].image == b"other image"
  assert found[5].texts == {"en": ("other",)}


def test_member_above_8_gib(tmp_path):
  # On disk it is a hole.
  info = tarfile.TarInfo("a.mp4")
  info.size = 9 << 30
  with open(tmp_path / "x.tar", "wb") as file:
    file.write(info.tobuf(tarfile.GNU_FORMAT))
    file.seek(info.size, os.SEEK_CUR)
    file.write(tars.data(PAIR))
  records = tars.opened(tmp_path / "x.tar", tmp_path / "cache")
  assert _kind(records.__getitem__, 0) == "image_too_large"
  assert records[1].image == b"image"


def test_wrong_file_among_tars(tmp_path):
  tars.write(tmp_path / "0.tar", PAIR)
  (tmp_path / "1.tar").write_bytes(b"<html>" * 99)
  (tmp_path / "2.tar").write_bytes(b"")
  records = tars.opened(tmp_path / "*.tar", tmp_path / "cache")
  assert records[0].image == b"image"
  for index, message in (
    (1, "1.tar is no tar but an HTML page"),
    (2, "2.tar is no tar but an empty file"),
  ):
    with pytest.raises(faults.ExampleError, match=message) as caught:
      records[index]
    assert caught.value.kind == "shard_broken"
  (tmp_path / "1.tar").write_bytes(tars.data(PAIR))
  assert _kind(records.__getitem__, 1) == "shard_changed"


def test_sparse_image(tmp_path):
  # As GNU tar stores it; see also test_tar_headers.py.
  data = test_tar_headers._pax_sparse() + tars.data({"k.txt": b"a dog"})
  (tmp_path / "x.tar").write_bytes(data)
  records = tars.opened(tmp_path / "x.tar", tmp_path / "cache")
  assert records[0].image == b"head".ljust(2000, b"\0") + b"tail"


def test_uid_of_a_field(tmp_path):
  path = tars.write(
    tmp_path / "x.tar",
    tars.examples(0, 3) | {"9.jpg": b"i", "9.txt": b"c", "9.json": b"{}"},
  )
  records = tars.opened(path, tmp_path / "cache", uid="json.uid")
  assert records.uids().tolist() == [(0, 0), (0, 1), (0, 2), (0, 0)]
  assert records.uids().dtype == uids_lib.UID
  assert records[2].key == "0002"
  assert records[3].key == "9"


def test_records_can_be_pickled_and_read_by_threads(tmp_path):
  for i in range(3):
    tars.write(tmp_path / f"{i}.tar", tars.examples(i * 20, i * 20 + 20))
  records = tars.opened(tmp_path / "*.tar", tmp_path / "cache")
  data = pickle.dumps(records)
  assert len(data) < 1000
  other = pickle.loads(data)
  assert other.fingerprint() == records.fingerprint()
  expected = [records[i] for i in range(60)]
  wrong = []

  def read(seed):
    order = list(range(60))
    random.Random(seed).shuffle(order)
    wrong.extend(i for i in order if other[i] != expected[i])

  threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong
  for index in (-1, 60):
    with pytest.raises(IndexError):
      records[index]


def test_fingerprint(tmp_path):
  path = tars.write(tmp_path / "x.tar", PAIR)
  os.utime(path, ns=(1, 1))
  first = tars.opened(path, tmp_path / "a").fingerprint()
  (tmp_path / "moved").mkdir()
  moved = path.rename(tmp_path / "moved/x.tar")
  assert tars.opened(moved, tmp_path / "a").fingerprint() == first
  os.utime(moved, ns=(2, 2))
  assert tars.opened(moved, tmp_path / "a").fingerprint() != first


def _members_of(i: int) -> dict[str, bytes]:
  return {
    f"{i}.jpg": b"image %d" % i * 99,
    f"{i}.txt": b"caption %d" % i,
  }


@pytest.mark.parametrize("in_place", [True, False])
def test_tar_changed_during_the_run(tmp_path, in_place):
  path = tmp_path / "x.tar"
  tars.write(path, {k: v for i in range(5) for k, v in _members_of(i).items()})
  records = tars.opened(path, tmp_path / "cache")
  records[0]
  data = tars.data({"longer.jpg": b"i" * 2000, "longer.txt": b"c"} | PAIR)
  if in_place:
    path.write_bytes(data.ljust(20480, b"\0"))
  else:
    path.unlink()
    path.write_bytes(data.ljust(20480, b"\0"))
    webdataset.files.facts(str(path))  # lets go of the file that was replaced
  kinds = [_kind(records.__getitem__, i) for i in range(5)]
  assert kinds == ["shard_changed"] * 5
  path.unlink()
  webdataset.files._descriptor.cache_clear()
  assert _kind(records.__getitem__, 0) == "file_missing"


def test_a_stale_index_gives_no_wrong_pair(tmp_path):
  # The worst case: same size, same time, same places of all members.
  path = tmp_path / "x.tar"
  orders = ([1, 2, 3, 4], [1, 3, 2, 5])
  for order in orders:
    tars.write(path, {k: v for i in order for k, v in _members_of(i).items()})
    os.utime(path, ns=(1, 1))
    records = tars.opened(path, tmp_path / "cache")
  assert records[0].texts == {"en": ("caption 1",)}
  for index in (1, 2, 3):
    assert _kind(records.__getitem__, index) == "shard_changed"


def test_truncated_tar(tmp_path):
  whole = tars.data(tars.examples(1, 5))
  path = tmp_path / "x.tar"
  last = "0004"
  with tarfile.open(tars.write(path, tars.examples(1, 5))) as tar:
    jpg = tar.getmember(f"{last}.jpg")
    txt = tar.getmember(f"{last}.txt")
  for size, count, kinds in (
    (jpg.offset_data + 5, 4, ["shard_short"]),  # in the image
    (jpg.offset + 100, 4, ["shard_short"]),  # in the header before it
    (txt.offset_data + 5, 4, ["shard_short"]),  # in the caption
    (txt.offset, 4, ["caption_missing"]),  # between the two
    (jpg.offset, 3, []),  # between two examples: seen by no one, but logged
  ):
    path.write_bytes(whole[:size])
    records = tars.opened(path, tmp_path / "cache")
    num_whole = count - len(kinds)
    assert len(records) == count, size
    assert [records[i].key for i in range(num_whole)] == [
      *("0001", "0002", "0003", "0004")[:num_whole]
    ]
    found = [_kind(records.__getitem__, i) for i in range(num_whole, count)]
    assert found == kinds, size


def test_remote(tmp_path):
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  memory.pipe("/d/0.tar", tars.data(tars.examples(0, 4)))
  memory.pipe("/d/1.tar", tars.data(tars.examples(4, 6)))
  records = tars.opened("memory://d/{0,1}.tar", tmp_path)
  assert [records[i].texts["en"] for i in (5, 0, 3)] == [
    *(("caption 0005",), ("caption 0000",), ("caption 0003",))
  ]
  memory.rm("/d/1.tar")
  assert _kind(records.__getitem__, 5) == "file_missing"


@hypothesis.given(
  strategies.lists(
    strategies.tuples(
      strategies.integers(0, 9215), strategies.integers(1, 255)
    ),
    min_size=1,
    max_size=6,
  ),
  strategies.integers(600, 10240),
)
@hypothesis.settings(
  max_examples=50,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_damage_gives_no_wrong_pair(tmp_path, flips, size):
  members = {}
  for i in range(3):
    members[f"{i}.jpg"] = b"image %d" % i * 99
    members[f"{i}.txt"] = b"caption %d" % i * 99
  data = bytearray(tars.data(members))
  for place, mask in flips:
    data[place] ^= mask
  path = tmp_path / "x.tar"
  path.write_bytes(data[:size])
  try:
    records = tars.opened(path, tmp_path / "cache")
  except ValueError:  # its first header
    return
  for index in range(len(records)):
    try:
      found = records[index]
    except faults.ExampleError:
      continue
    number = int(found.key)
    for got, written in (
      (found.image, b"image %d" % number * 99),
      (found.texts["en"][0].encode(), b"caption %d" % number * 99),
    ):
      # Other bytes of a pixel or a letter are no other example's, of which
      # each repeat would differ.
      wrong = sum(a != b for a, b in zip(got, written, strict=False))
      assert wrong <= 2 * len(flips) < 99
