"""Captions of a tar's images in a file of their own."""

import json

import pytest

from input_pipeline import faults
from input_pipeline.sources import (
  caption_files,
  source_config,
  webdataset_layout,
)
from tests.input_pipeline.sources import pairs


@pytest.mark.parametrize(
  ("pattern", "tar", "expected"),
  [
    ("{tar}.json", "/a/b/01.tar", "/a/b/01.json"),
    ("../json/{folder}/{tar}.json", "/a/b/01.tar", "/a/json/b/01.json"),
    ("/c/{tar}.json", "/a/b/01.tar", "/c/01.json"),
    ("../{tar}.json", "s3://a/b/01.tar", "s3://a/01.json"),
    ("gs://c/{tar}.json", "s3://a/b/01.tar", "gs://c/01.json"),
  ],
)
def test_path_of_a_tars_file(pattern, tar, expected):
  assert caption_files.path_of(pattern, tar) == expected


def test_what_a_file_may_have(tmp_path):
  content = {"a": [["x", "de", []], "y", ["z"], 5, [], " "], "b": "no list"}
  (tmp_path / "1.json").write_text(json.dumps(content))
  (tmp_path / "2.json").write_text("{")
  (tmp_path / "3.json").write_text("[]")
  tars = tuple(f"{tmp_path}/{number}.tar" for number in range(1, 5))
  found = caption_files.CaptionFiles("{tar}.json", tars, "en")
  assert found.texts(0, "folder/a") == {"de": ("x",), "en": ("y", "z")}
  assert found.texts(0, "b") == found.texts(0, "c") == {}
  for number, kind in (
    *((1, "caption_broken"), (2, "caption_broken")),
    (3, "file_missing"),
  ):
    with pytest.raises(faults.ExampleError) as raised:
      found.texts(number, "a")
    assert raised.value.kind == kind


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ('{"a": ["\\ud800"]}', "1.json, a: the caption is not Unicode"),
    ('{"a": ["x"], "a": ["y"]}', "1.json has the key a twice"),
  ],
)
def test_captions_that_are_not_clear(tmp_path, content, message):
  (tmp_path / "1.json").write_text(content)
  found = caption_files.CaptionFiles("{tar}.json", (f"{tmp_path}/1.tar",), "en")
  with pytest.raises(faults.ExampleError, match=message) as raised:
    found.texts(0, "a")
  assert raised.value.kind == "caption_broken"


def test_beside_other_captions():
  source: source_config.SourceConfig = pairs.source(
    "webdataset", "0.tar", caption=("{tar}.json", "txt")
  )
  with pytest.raises(ValueError, match="main.caption must be one where"):
    webdataset_layout.make(source, "data.sources.main")
