"""States of splits: they change with each file that is read."""

import os
import types

import fsspec
import pytest

from evaluators import suite_data
from evaluators.sets.disk import class_folders
from input_pipeline import evaluation_split
from input_pipeline.images import image_protocols
from input_pipeline.sources import array_record, tfds
from input_pipeline.sources import record as record_lib
from tests.evaluators.sets import made


def _state(source, cache):
  split = evaluation_split.open_source(
    source,
    protocol=image_protocols.PROTOCOLS["clip"],
    num_threads=1,
    cache_dir=cache,
    name="mine",
    section="--sets",
  )
  return split.state()


def test_a_picture_that_was_replaced_under_its_name(tmp_path):
  made.images(tmp_path / "set", "ant/a.png", "bee/b.png")
  opened = class_folders.open_any(
    "mine", str(tmp_path / "set"), cache_dir=str(tmp_path / "cache")
  )
  source = suite_data.source_of(opened)
  before = _state(source, tmp_path / "cache")
  assert _state(source, tmp_path / "cache") == before
  path = tmp_path / "set" / "bee" / "b.png"
  content = path.read_bytes()
  path.write_bytes(content + b"x")
  longer = _state(source, tmp_path / "cache")
  assert longer != before
  path.write_bytes(content)
  os.utime(path, ns=(1, 1))
  assert _state(source, tmp_path / "cache") not in (before, longer)


def _array_record(paths):
  return array_record.Records(*paths, counts=[3] * len(paths))


def _tfds(paths):
  records = tfds.Records.__new__(tfds.Records)  # no reader of it opens memory
  records._spans = [types.SimpleNamespace(filename=path) for path in paths]
  return records


@pytest.mark.parametrize("make", [_array_record, _tfds])
def test_records_that_were_replaced_at_a_url(make):
  memory = fsspec.filesystem("memory")
  paths = ["memory://state/a.array_record", "memory://state/b.array_record"]
  try:
    for path in paths:
      memory.pipe(path, b"one")
    records = make(paths)
    before = record_lib.image_state(records)
    assert before
    assert record_lib.image_state(make(paths)) == before
    memory.pipe(paths[1], b"two")  # of the same size
    assert record_lib.image_state(records) != before
    memory.rm(paths[1])
    assert record_lib.image_state(records) == ""  # with a warning
  finally:
    memory.rm("memory://state", recursive=True)


def test_records_on_disk_have_their_state_in_the_fingerprint():
  assert record_lib.image_state(_tfds(["/disk/a.array_record"])) == ""
