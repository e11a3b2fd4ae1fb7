"""--task=prepare: the same folder however often it was stopped."""

import contextlib
import dataclasses
import json
import pathlib
import zlib

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from configs import base
from configs.parts import sources
from input_pipeline import faults, pipeline
from input_pipeline.preparing import conversion, conversion_job, shard_writer
from input_pipeline.sources import array_record, image_ids, prepared, record
from input_pipeline.storage import uids as uids_lib
from runtime import failures
from runtime.storage import unfinished
from tests import runs
from tests.input_pipeline import deadly_records
from tests.input_pipeline.sources import pairs, tars
from training import config as config_lib

NUM_ROWS, NUM_BAD = 23, 2


def _write_table(path: pathlib.Path, num_rows: int = NUM_ROWS) -> None:
  rows = [
    {
      "jpg": pairs.png(i) if i != 7 else None,
      "caption": f"text {i}" if i != 20 else " ",
      "uid": pairs.key(1000 - i),
    }
    for i in range(num_rows)
  ]
  parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=4)


def _config(folder: pathlib.Path, **changes) -> pipeline.DataConfig:
  """Return the section `data`; **changes are other sources."""
  config = base.get_config()
  config.data.sources = {
    "main": sources.source(
      format="parquet",
      path=str(folder / "a.parquet"),
      caption=("caption",),
      uid="uid",
    )
  }
  config.data.sources.update(changes)
  config.data.cache_dir = str(folder / "cache")
  config.data.max_bad_fraction = NUM_BAD / NUM_ROWS
  return config_lib.from_mapping(config.to_dict()).data


@pytest.fixture
def config(tmp_path) -> pipeline.DataConfig:
  _write_table(tmp_path / "a.parquet")
  return _config(tmp_path)


def _run(config, out, *, num_workers=0, shard_examples=5, decode=False) -> int:
  return conversion.run(
    config,
    str(out),
    num_workers=num_workers,
    shard_examples=shard_examples,
    decode=decode,
    as_json=True,
  )


def _files(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def _read(config) -> list[record.Record]:
  (records,) = pipeline.open_sources(config).values()
  found = []
  for index in range(len(records)):
    with contextlib.suppress(faults.ExampleError):
      found.append(records[index])
  return found


@pytest.fixture
def whole(config, tmp_path, capsys) -> pathlib.Path:
  """Return the folder that nothing disturbed."""
  out = tmp_path / "whole"
  assert _run(config, out) == 0
  capsys.readouterr()
  return out


def test_what_is_written_is_what_was_read(config, tmp_path, capsys):
  out = tmp_path / "out"
  assert _run(config, out) == 0
  facts = json.loads(capsys.readouterr().out)["main"]
  assert facts["splits"] == {"train": NUM_ROWS - NUM_BAD}
  assert facts["left_out"] == {"caption_missing": 1, "image_missing": 1}
  assert facts["num_files"] == 5

  # The flags that were printed, as the command line takes them.
  fields = dict(
    flag.removeprefix("--config.").split("=") for flag in facts["flags"]
  )
  section = dataclasses.asdict(config.sources["main"])
  for name, value in fields.items():
    assert name.startswith("data.sources.main.")
    name = name.removeprefix("data.sources.main.")
    section[name] = () if value == "'()'" else value.replace("''", "")
  source = dataclasses.replace(config.sources["main"], **section)
  converted = dataclasses.replace(config, sources={"main": source})
  assert _read(converted) == _read(config)

  (records,) = pipeline.open_sources(converted).values()
  assert records[0].key == pairs.key(1000)  # the column of UIDs
  uids = records.uids()
  assert [tuple(uid.tolist()) for uid in uids] == [
    uids_lib.uid(one.key) for one in _read(config)
  ]
  text = (out / conversion.ERRORS).read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  assert [(line["index"], line["kind"]) for line in lines] == [
    (7, "image_missing"),
    (20, "caption_missing"),
  ]
  assert "row 7, of " in lines[0]["message"]
  assert "a.parquet, has nothing in column jpg" in lines[0]["message"]
  assert "row 20" in lines[1]["message"]
  assert {(line["source"], line["split"]) for line in lines} == {
    ("main", "train")
  }
  manifest = prepared.read_manifest(out)  # digests too
  assert manifest.languages == ("en",)
  # Stored as they are: nothing was compressed again.
  image = pairs.png(0)
  assert image in (out / manifest.files_of("train")[0][0]).read_bytes()


def test_same_bytes_with_workers_and_again(config, whole, tmp_path, capsys):
  assert _run(config, tmp_path / "workers", num_workers=2) == 0
  assert _files(tmp_path / "workers") == _files(whole)
  before = {p: p.stat().st_mtime_ns for p in whole.iterdir()}
  assert _run(config, whole) == 0  # has nothing to do, and says the same
  assert {p: p.stat().st_mtime_ns for p in whole.iterdir()} == before
  first, second = capsys.readouterr().out.splitlines()
  assert first.replace("/workers", "/whole") == second


_PAGE = b"<!DOCTYPE html><p>not found"


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("decode", [False, True])
def test_images_are_checked(tmp_path, capsys, decode, num_workers):
  """A header tells a page, but no cut image, from a whole image."""
  huge = bytearray(pairs.png(5))
  huge[16:24] = (9000).to_bytes(4) * 2
  huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4)
  cut = pairs.png(3)[:-30]
  images = [pairs.png(0), _PAGE, b"", pairs.png(2), cut, bytes(huge)]
  members = {}
  for index, image in enumerate(images):
    members[f"k{index}.png"] = image
    members[f"k{index}.txt"] = b"text"
  tar = tars.write(tmp_path / "a.tar", members)
  config = _config(
    tmp_path, main=sources.source(format="webdataset", path=str(tar))
  )
  config = dataclasses.replace(config, max_bad_fraction=1.0)
  out = tmp_path / "out"
  assert _run(config, out, decode=decode, num_workers=num_workers) == 0
  facts = json.loads(capsys.readouterr().out)["main"]
  assert facts["splits"] == {"train": 2 if decode else 3}
  assert facts["left_out"] == {
    "image_broken": 2 if decode else 1,
    "image_missing": 1,
    "image_too_large": 1,
  }
  lines = (out / conversion.ERRORS).read_text().splitlines()
  messages = {(x := json.loads(line))["index"]: x["message"] for line in lines}
  assert messages[1] == (
    f"{tar}, k1: cannot decode image of 27 bytes: it is an HTML page, such as "
    "that of a failed download"
  )
  assert f"{tar}, k5: image of 9000 x 9000" in messages[5]
  if decode:
    assert f"{tar}, k4: cannot decode image" in messages[4]
  keys = [one.key for one in prepared.records(out, "train")]
  assert keys == ["k0", "k3"] if decode else ["k0", "k3", "k4"]
  # The other check is another folder.
  with pytest.raises(failures.RunError, match="\n  image_check: "):
    _run(config, out, decode=not decode)


def test_a_folder_of_unchecked_images(config, whole):
  """Written before images were checked."""
  manifest = prepared.read_manifest(whole)
  made_from = dict(manifest.made_from)
  del made_from["image_check"]
  prepared.write_manifest(
    whole, dataclasses.replace(manifest, made_from=made_from)
  )
  with pytest.raises(
    failures.RunError, match="image_check: 'none' in the folder, 'header' now"
  ):
    _run(config, whole)


class _Killed(BaseException):
  """Stands for a process that ends here: nothing may catch it."""


def _kill_at(monkeypatch, module, name, call):
  """Let the nth call of a function be the last thing that happens."""
  real, calls = getattr(module, name), []

  def counted(*args, **kwargs):
    calls.append(args)
    if len(calls) == call:
      raise _Killed
    return real(*args, **kwargs)

  monkeypatch.setattr(module, name, counted)
  return calls


@pytest.mark.parametrize(
  ("module", "name", "call", "num_left"),
  [
    (array_record, "write", 3, 3),
    (shard_writer.whole_files, "write", 1, 5),  # the plan
    (shard_writer.whole_files, "write", 5, 4),  # facts of the second shard
    (conversion, "_join_uids", 1, 0),  # shards are in their places
    (prepared, "write_manifest", 1, 0),
    (unfinished.shutil, "rmtree", 1, None),  # all is done but cleaning up
  ],
)
def test_killed_and_called_again(
  config, whole, tmp_path, monkeypatch, module, name, call, num_left
):
  out = tmp_path / "out"
  with monkeypatch.context() as patched:
    _kill_at(patched, module, name, call)
    with pytest.raises(_Killed):
      _run(config, out)
  assert (out / prepared.MANIFEST).exists() == (num_left is None)
  if num_left is not None:
    with pytest.raises(prepared.BrokenError, match="no manifest"):
      prepared.read_manifest(out)
  (out / conversion_job.UNFINISHED / ".x.tmp-1").write_bytes(b"half")
  written = _kill_at(monkeypatch, array_record, "write", 99)
  assert _run(config, out) == 0
  assert len(written) == (num_left or 0)
  assert _files(out) == _files(whole)
  assert not (out / conversion_job.UNFINISHED).exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_faults(config, whole, tmp_path, num_workers):
  out = tmp_path / "out"
  strict = dataclasses.replace(config, max_bad_fraction=0.0)
  for _ in range(2):  # also when all that is left is to finish
    with pytest.raises(
      ValueError,
      match=r"sources.main: .* of 23 examples cannot be used so far .*image_mis"
      r"sing.*data.max_bad_fraction=0.0; all are in .*row 7, of .*a\.parq"
      r"uet, has nothing in column jpg",
    ):
      _run(strict, out, num_workers=num_workers)
    assert (out / conversion.ERRORS).read_text()
    assert not list(out.glob("*.array_record"))
    with pytest.raises(prepared.BrokenError):
      prepared.read_manifest(out)
    if num_workers:
      return  # one of them is enough: each starts a process
  assert _run(config, out) == 0
  assert _files(out) == _files(whole)


def test_other_folders_are_refused(config, whole, tmp_path):
  before = _files(tmp_path)
  with pytest.raises(
    failures.RunError,
    match="whole holds another data set.*\n  shard_examples: 5 in the",
  ):
    _run(config, whole, shard_examples=6)
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "x").touch()
  missing = dataclasses.replace(config.sources["main"], path="gone")
  for source in (config.sources["main"], missing):  # said before it is opened
    some = dataclasses.replace(config, sources={"main": source})
    with pytest.raises(ValueError, match="a must be a new or empty .* x$"):
      _run(some, tmp_path / "a")
  with pytest.raises(ValueError, match="x must be a folder, not a file"):
    _run(config, tmp_path / "a" / "x")
  with pytest.raises(ValueError, match="--out is missing"):
    _run(config, "")
  for options in ({"num_workers": -1}, {"shard_examples": 0}):
    with pytest.raises(ValueError, match=f"--{next(iter(options))} must be"):
      _run(config, tmp_path / "b", **options)
  (tmp_path / "a" / "x").unlink()
  assert _files(tmp_path) == before
  # A source that has changed since is another data set.
  _write_table(tmp_path / "a.parquet", NUM_ROWS - 1)
  with pytest.raises(
    failures.RunError, match="whole holds another data set.*\n  examples: "
  ):
    _run(config, whole)


def test_another_process_is_writing(config, tmp_path):
  work = tmp_path / "out" / conversion_job.UNFINISHED
  work.mkdir(parents=True)
  with (
    unfinished.claim(work, "--out=x"),
    pytest.raises(failures.RunError, match="out is in use by another run"),
  ):
    _run(config, tmp_path / "out")


def test_every_source_and_split(tmp_path, capsys):
  records = pairs.usable()
  prepared.prepare(
    tmp_path / "made",
    lambda: {"train": records[:3], "test": records[3:], "none": []},
    versions={},
  )
  _write_table(tmp_path / "a.parquet")
  config = _config(
    tmp_path,
    other=sources.source(
      format="array_record", path=str(tmp_path / "made"), split="test"
    ),
  )
  config = dataclasses.replace(config, languages=("en", "de"))
  out = tmp_path / "out"
  assert _run(config, out) == 0
  facts = json.loads(capsys.readouterr().out)
  assert facts["other"]["splits"] == {"train": 3, "test": 1, "none": 0}
  assert facts["other"]["flags"][-1].endswith("other.split=test")
  assert sorted(path.name for path in out.iterdir()) == ["main", "other"]
  for split, wanted in (("train", records[:3]), ("none", [])):
    assert list(prepared.records(out / "other", split)) == wanted
    assert len(prepared.records(out / "other", split).uids()) == len(wanted)
  (out / "else").touch()
  with pytest.raises(ValueError, match="one with the sources .*it has else"):
    _run(config, out)


def test_only_the_subset(config, tmp_path, capsys):
  chosen = [pairs.key(1000 - index) for index in (3, 11, 12, 22)]
  uids = np.array(sorted(map(uids_lib.uid, chosen)), uids_lib.UID)
  np.save(tmp_path / "subset.npy", uids)
  source = dataclasses.replace(
    config.sources["main"], subset=str(tmp_path / "subset.npy")
  )
  out = tmp_path / "out"
  _run(dataclasses.replace(config, sources={"main": source}), out)
  assert [one.key for one in prepared.records(out, "train")] == chosen
  flags = json.loads(capsys.readouterr().out)["main"]["flags"]
  assert "--config.data.sources.main.subset=''" in flags
  with pytest.raises(
    failures.RunError, match="out holds another data set.*\n  subset: "
  ):
    _run(config, out)


def test_keys_become_uids_where_they_differ(tmp_path):
  """For sources whose keys are not what `subset` names."""
  wanted = np.array([(1, 2), uids_lib.uid("b")], uids_lib.UID)
  path = tmp_path / "a.array_record"
  task = shard_writer.Task(0, path, 0, 2, wanted, "header", 99)
  some = [record.Record(key, pairs.png(0), {"en": ("t",)}) for key in "ab"]
  shard_writer.write(some, task, lambda counted: None)
  found = array_record.Records(path)
  assert [one.key for one in found] == [f"{1:016x}{2:016x}", "b"]
  np.testing.assert_array_equal(found.uids(), wanted)


def test_shards_of_an_earlier_version(config, whole, tmp_path, monkeypatch):
  """They are without the names of images, which are then read again."""
  out = tmp_path / "out"
  with monkeypatch.context() as patched:
    _kill_at(patched, prepared, "write_manifest", 1)
    with pytest.raises(_Killed):
      _run(config, out)
  names = [*(out / conversion_job.UNFINISHED).glob("*.image_ids")]
  assert len(names) == 5
  for path in (names[0], out / "train.image_ids.npy"):
    path.unlink()
  assert _run(config, out) == 0
  files = prepared.read_manifest(out).files
  assert {*prepared.read_manifest(whole).files} - {*files} == {
    "train.image_ids.npy"
  }
  assert not (out / "train.image_ids.npy").exists()
  old, new = (prepared.records(folder, "train") for folder in (out, whole))
  assert old.image_id(3) == new.image_id(3)
  assert new.image_id(3) == image_ids.of_bytes(new[3].image)


def test_a_worker_that_is_killed(tmp_path):
  path = tmp_path / "a.array_record"
  task = shard_writer.Task(0, path, 0, 1, None, "header", 99)
  with pytest.raises(
    OSError, match="worker .* ended with exit code 9.*goes on"
  ):
    shard_writer.write_all(
      [deadly_records.Records([1])],
      [task],
      num_workers=1,
      num_done=0,
      num_bad=0,
      max_bad=0,
      label="Writing",
    )
  assert shard_writer.read_facts(task.path) is None


def test_main(tmp_path):
  _write_table(tmp_path / "a.parquet", 5)
  args = (
    "--task=prepare",
    "--config.data.sources.main.format=parquet",
    f"--config.data.sources.main.path={tmp_path / 'a.parquet'}",
    "--config.data.sources.main.split=",
    f"--out={tmp_path / 'out'}",
    "--num_workers=0",
    "--shard_examples=3",
  )
  result = runs.Runner(tmp_path / "cache", None).run(None, *args)
  assert result.code == 0, result.stderr
  assert "out: train 5 examples in 2 files of" in result.stdout
  assert f"main.path={tmp_path / 'out'}\n" in result.stdout
  assert "Preparing main: 5/5" in result.stderr
  assert len(prepared.records(tmp_path / "out", "train")) == 5


def test_keys_that_repeat_are_told(tmp_path, caplog, capsys):
  """They cost nothing without a selection; "file+key" tells them apart."""
  rows = [
    {"jpg": pairs.png(i), "caption": f"text {i}", "key": i} for i in range(4)
  ]
  for name in ("a", "b"):
    path = tmp_path / f"{name}.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  for uid, num in (("", 4), ("file+key", 0)):
    caplog.clear()
    main = sources.source(
      format="parquet", path=str(tmp_path / "*.parquet"), uid=uid
    )
    out = tmp_path / f"out{num}"
    assert _run(_config(tmp_path, main=main), out) == 0
    capsys.readouterr()
    told = f"{num} examples of {out / 'train.uids.npy'} have the UID of another"
    assert (told in caplog.text) == bool(num)
    uids = prepared.records(out, "train").uids()
    assert len(np.unique(uids)) == 8 - num
    keys = [one.key for one in prepared.records(out, "train")]
    assert [uids_lib.uid(key) for key in keys] == uids.tolist()
