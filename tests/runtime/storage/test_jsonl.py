"""JSON lines, and what a kill leaves of the last one."""

import math

import pytest

from runtime.storage import jsonl

LINES = [{"step": 1}, {"step": 2, "text": "ä\n"}]


def _write(path, *lines):
  writer = jsonl.Writer(path)
  for line in lines:
    writer.write(line)
  writer.sync()
  writer.close()


@pytest.fixture
def path(tmp_path):
  _write(tmp_path / "a.jsonl", *LINES)
  return tmp_path / "a.jsonl"


def test_lines_are_appended(path):
  assert jsonl.read(path) == LINES
  _write(path, {"step": 3})
  assert jsonl.read(path) == [*LINES, {"step": 3}]


def test_a_line_is_there_at_once_and_after_close(tmp_path):
  path = tmp_path / "a.jsonl"
  writer = jsonl.Writer(path)
  writer.sync()
  assert not path.exists()  # without a line there is no file
  assert jsonl.read(path) == []
  for number in range(3):
    writer.write({"step": number})
    assert len(jsonl.read(path)) == number + 1
    writer.close()


def test_a_cut_line_is_dropped_wherever_it_is_cut(path):
  whole = path.read_bytes()
  start = whole.index(b"\n") + 1
  for end in range(start, len(whole) - 1):
    path.write_bytes(whole[:end])
    assert jsonl.read(path) == LINES[:1]
    _write(path, LINES[1])
    assert path.read_bytes() == whole


def test_a_line_without_its_end_stays(path):
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  assert jsonl.read(path) == LINES
  _write(path, {"step": 3})
  assert path.read_bytes() == whole + b'{"step": 3}\n'


def test_bytes_that_are_no_text_are_dropped(path):
  """A file system may leave anything in blocks that were not written."""
  whole = path.read_bytes()
  path.write_bytes(whole + b"\x00\xff\x00")
  _write(path, {"step": 3})
  assert path.read_bytes() == whole + b'{"step": 3}\n'


def test_a_broken_line_before_the_last_is_named(path):
  path.write_bytes(b'{"step"\n' + path.read_bytes())
  with pytest.raises(ValueError, match=r"a.jsonl: line 1 must be JSON; "):
    jsonl.read(path)


def test_lines_are_kept_to_the_byte(path):
  first = path.read_bytes().splitlines(keepends=True)[0]
  jsonl.keep(path, lambda line: line["step"] < 2)
  assert path.read_bytes() == first
  jsonl.keep(path.with_name("b.jsonl"), lambda line: True)
  assert path.with_name("b.jsonl").read_bytes() == b""


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_never_written(path, value):
  _write(path, {"step": 3, "loss": value})
  assert jsonl.read(path) == [*LINES, {"step": 3, "loss": None}]
