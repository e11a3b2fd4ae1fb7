"""States of splits: they change with each file that is read."""

import os

from evaluators import suite_data
from evaluators.sets.disk import class_folders
from input_pipeline import evaluation_split
from input_pipeline.images import image_protocols
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
