"""A prepared folder is complete or not there, whatever happened before."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fsspec
import pytest

from input_pipeline.sources import array_record, prepared
from runtime.storage import whole_files
from tests.input_pipeline.sources import pairs

ROOT = pathlib.Path(__file__).parents[3]

# Prepares two splits in argv[1]; `{hook}` runs before each record is made.
SCRIPT = """
import os, pathlib, signal, sys, time
from input_pipeline.sources import array_record, prepared

def make():
  {hook}
  return {{
    "train": [
      array_record.Record(str(i), os.urandom(4096), {{"en": (f"name {{i}}",)}})
      for i in range(300)
    ],
    "test": [],
  }}

{setup}
try:
  prepared.prepare(pathlib.Path(sys.argv[1]), make, versions={{}})
except OSError as error:
  sys.exit(str(error))
"""


def _start(
  folder: pathlib.Path, hook: str = "pass", setup: str = "pass"
) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-c", SCRIPT.format(hook=hook, setup=setup), str(folder)],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
  )


def _records(num: int = 3) -> list[array_record.Record]:
  return [
    array_record.Record(f"k{i}", bytes([i]) * 100, {"en": ("a",), "de": ("ä",)})
    for i in range(num)
  ]


def _make() -> prepared.Splits:
  return {"train": _records(), "test": _records(1)}


def _leftovers(folder: pathlib.Path) -> list[str]:
  return sorted(path.name for path in folder.iterdir() if ".tmp-" in path.name)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  folder = tmp_path / "cache" / "data"
  prepared.prepare(folder, _make, versions={"emoji": "1"})
  return folder


def test_manifest_tells_what_is_there(folder):
  manifest = prepared.read_manifest(folder)
  assert manifest.splits == {"train": 3, "test": 1}
  assert manifest.languages == ("de", "en")
  assert manifest.versions == {"emoji": "1"}
  assert set(manifest.files) == {"train.array_record", "test.array_record"}


def test_a_folder_whose_name_is_a_pattern_too(tmp_path):
  folder = tmp_path / "[v1] {2}"
  prepared.prepare(folder, _make, versions={})
  for path in (folder, f"{folder}/*.array_record"):
    split = "train" if path == folder else ""
    source = pairs.source("array_record", path, split=split)
    records = prepared.open_split(source, split, pairs.context(tmp_path))
    assert records[len(records) - 1] == _records()[-1]


def test_folders_of_the_first_schema_are_read(folder):
  """One file a split, which its manifest does not name."""
  path = folder / "manifest.json"
  fields = json.loads(path.read_text())
  assert fields.pop("schema") == 2
  assert fields.pop("made_from") == {}
  fields["shards"]["train"] = []  # would be read, were it not left out
  del fields["shards"]
  path.write_text(json.dumps(fields | {"schema": 1}))
  assert list(prepared.records(folder, "train")) == _records()


def test_a_manifest_names_files_of_its_folder_only(folder):
  path = folder / "manifest.json"
  fields = json.loads(path.read_text())
  fields["files"]["../x"] = fields["files"].pop("train.array_record")
  fields["shards"]["train"] = [["../x", 3]]
  path.write_text(json.dumps(fields))
  with pytest.raises(prepared.BrokenError, match=r"names '../x', which is no"):
    prepared.read_manifest(folder)


def test_remote_manifest(folder):
  fs = fsspec.filesystem("memory")
  for path in folder.iterdir():
    fs.pipe(f"/prep/{path.name}", path.read_bytes())
  manifest = prepared.read_remote_manifest("memory://prep")
  assert manifest == prepared.read_manifest(folder)
  fs.pipe("/prep/train.array_record", b"short")
  with pytest.raises(prepared.BrokenError, match="train.* bytes; got 5"):
    prepared.read_remote_manifest("memory://prep")
  with pytest.raises(prepared.BrokenError, match="none/manifest.json"):
    prepared.read_remote_manifest("memory://none")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"path": "s3://b/x"},
      "main.path: ArrayRecord is read from disk and gs://",
    ),
    ({"path": "none"}, "main.path must be a prepared folder.*no manifest"),
    ({"path": "none*"}, "main.path matches no file"),
    ({"split": "dev"}, r"main.split must be one of \['train', 'test'\]"),
    ({"uid": "uid"}, "main.uid is not used by format=.array_record"),
    (
      {"path": "train.array_record", "split": "train"},
      "main.split must be .. ",
    ),
    ({"path": "manifest.json"}, "main.path must be a prepared folder"),
    ({"path": "x.array_record"}, "x.array_record is not an ArrayRecord file"),
  ],
)
def test_sections_that_do_not_fit(folder, monkeypatch, fields, message):
  monkeypatch.chdir(folder)
  (folder / "x.array_record").write_bytes(b"x" * 1000)
  fields = {"path": str(folder)} | fields
  source = pairs.source("array_record", **fields)
  with pytest.raises(ValueError, match=message):
    prepared.open_split(source, source.split, pairs.context(folder))


def test_prepared_once(folder):
  def fail():
    raise AssertionError("prepared a second time")

  prepared.prepare(folder, fail, versions={})


def _flip_byte(folder):
  path = folder / "train.array_record"
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def _cut(folder):
  os.truncate(folder / "train.array_record", 1000)


def _remove_file(folder):
  (folder / "test.array_record").unlink()


def _remove_manifest(folder):
  (folder / "manifest.json").unlink()


def _cut_manifest(folder):
  path = folder / "manifest.json"
  path.write_bytes(path.read_bytes()[:-10])


def _other_schema(folder):
  path = folder / "manifest.json"
  fields = json.loads(path.read_text())
  path.write_text(json.dumps(fields | {"schema": 0}))


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (_flip_byte, "train.array_record: its bytes are not"),
    (_cut, "train.array_record: expected .* bytes; got 1000"),
    (_remove_file, "test.array_record: expected .* bytes; got no file"),
    (_remove_manifest, "has no manifest"),
    (_cut_manifest, "is not a manifest"),
    (_other_schema, "has schema 0"),
  ],
)
def test_damage_is_found_and_repaired(folder, damage, message):
  damage(folder)
  with pytest.raises(prepared.BrokenError, match=message):
    prepared.read_manifest(folder)
  prepared.prepare(folder, _make, versions={})
  prepared.read_manifest(folder)
  records = array_record.Records(folder / "train.array_record")
  assert list(records) == _records()
  assert not _leftovers(folder.parent)


# Each is run in a process that it kills.
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
POINTS = {
  "first step": {"hook": KILL},
  "a file is written": {
    "setup": "array_record.write_real = array_record.write\n"
    "def write(path, records):\n"
    f"  n = array_record.write_real(path, records); {KILL}; return n\n"
    "array_record.write = write"
  },
  "manifest is written, not in place": {
    "setup": f"os.replace = lambda *paths: {KILL}"
  },
  "all is written, folder not renamed": {
    "setup": f"os.rename = lambda *paths: {KILL}"
  },
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_preparing(tmp_path, point):
  folder = tmp_path / "data"
  process = _start(folder, **POINTS[point])
  assert process.wait(60) == -signal.SIGKILL
  process.communicate()
  assert not folder.exists()
  assert len(_leftovers(tmp_path)) == 1
  prepared.prepare(folder, _make, versions={})
  assert prepared.read_manifest(folder).splits == {"train": 3, "test": 1}
  assert not _leftovers(tmp_path)


def test_killed_while_replacing_a_broken_folder(folder):
  _cut(folder)
  # The second rename is the one that puts the new folder in place.
  process = _start(
    folder,
    setup="real, calls = os.rename, []\n"
    "def rename(*paths):\n"
    "  calls.append(paths)\n"
    f"  if len(calls) == 2: {KILL}\n"
    "  real(*paths)\n"
    "os.rename = rename",
  )
  assert process.wait(60) == -signal.SIGKILL
  process.communicate()
  assert not folder.exists()
  prepared.prepare(folder, _make, versions={})
  assert len(array_record.Records(folder / "train.array_record")) == 3
  assert not _leftovers(folder.parent)


def test_two_processes_at_once(tmp_path):
  folder = tmp_path / "data"
  # Each leaves a mark when it makes the data; only one may.
  hook = (
    "pathlib.Path(sys.argv[1] + f'.made-{os.getpid()}').touch(); "
    "time.sleep(0.5)"
  )
  processes = [_start(folder, hook) for _ in range(2)]
  for process in processes:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
  assert prepared.read_manifest(folder).splits == {"train": 300, "test": 0}
  assert len(list(tmp_path.glob("data.made-*"))) == 1
  assert not _leftovers(tmp_path)


def test_leftovers_of_a_living_process_stay(tmp_path):
  """Cleaning waits for the lock, so it cannot hit a preparation at work."""
  slow = _start(tmp_path / "slow", "time.sleep(1.5)")
  while not _leftovers(tmp_path):
    assert slow.poll() is None
    time.sleep(0.01)
  prepared.prepare(tmp_path / "quick", _make, versions={})
  _, errors = slow.communicate(timeout=60)
  assert slow.returncode == 0, errors
  assert prepared.read_manifest(tmp_path / "slow").splits["train"] == 300


def test_full_disk(tmp_path):
  folder = tmp_path / "data"
  # A limit on the size of a file fails in write(2), as a full disk does.
  process = _start(
    folder,
    setup="import resource\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))",
  )
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 1
  (line,) = errors.strip().splitlines()
  assert f"cannot write prepared data below {tmp_path}" in line
  assert "File too large" in line
  assert "data.cache_dir" in line
  assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match="cannot write .*file.*data.cache_dir"):
    prepared.prepare(tmp_path / "file" / "data", _make, versions={})


def test_atomic_file_keeps_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "a"
  whole_files.write(path, b"old")

  def fail(*paths):
    raise OSError("no")

  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(OSError, match="no"):
    whole_files.write(path, b"new")
  assert path.read_bytes() == b"old"
  assert [p.name for p in tmp_path.iterdir()] == ["a"]
