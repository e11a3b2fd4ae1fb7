"""A file that grows in a bucket: segments, which a reader joins."""

import pytest

from runtime.storage import jsonl, objects, segments, whole_files

LINES = [{"step": i} for i in range(5)]


def _names(folder):
  return list(objects.sizes(str(folder)))


def test_lines_are_segments_until_the_end(folder):
  path = folder / "a.jsonl"
  assert jsonl.read(path) == []
  writer = jsonl.writer(path)
  for number, line in enumerate(LINES[:3]):
    writer.write(line)
    assert jsonl.read(path) == LINES[:number]  # before it is flushed
    writer.sync()
    assert jsonl.read(path) == LINES[: number + 1]
  writer.sync()  # nothing new
  assert _names(folder) == [
    *("a.jsonl", "a.jsonl.parts/00000001.part"),
    "a.jsonl.parts/00000002.part",
  ]
  writer.write(LINES[3])
  writer.close()
  assert _names(folder) == ["a.jsonl"]
  assert path.read_text() == "".join(f'{{"step": {i}}}\n' for i in range(4))
  writer.write(LINES[4])  # and opens again
  writer.close()
  assert jsonl.read(path) == LINES


def test_lines_of_a_killed_writer_are_kept_and_cut(folder):
  path = folder / "a.jsonl"
  for line in LINES:  # each one is killed before `close`
    writer = jsonl.writer(path)
    writer.write(line)
    writer.sync()
  assert jsonl.read(path) == LINES
  jsonl.keep(path, lambda line: line["step"] < 3)
  assert _names(folder) == ["a.jsonl"]
  assert jsonl.read(path) == LINES[:3]


def test_lines_are_flushed_in_time(folder, monkeypatch):
  monkeypatch.setattr(jsonl, "FLUSH_SECONDS", 0.0)
  writer = jsonl.writer(folder / "a.jsonl")
  for line in LINES:
    writer.write(line)
  writer.close()
  assert jsonl.read(folder / "a.jsonl") == LINES


@pytest.mark.parametrize("place", ["bucket", "disk"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
  folder, tmp_path, monkeypatch, place
):
  root = folder if place == "bucket" else tmp_path
  counts = []

  class Killed(BaseException):
    pass

  def counted(call):
    def run(*args, **kwargs):
      counts.append(1)
      if len(counts) == kill_at:
        raise Killed
      return call(*args, **kwargs)

    return run

  cls = type(root)
  monkeypatch.setattr(whole_files, "write", counted(whole_files.write))
  monkeypatch.setattr(cls, "unlink", counted(cls.unlink))
  kill_at, was_killed = 0, True
  while was_killed:
    kill_at += 1
    path = root / str(kill_at) / "a.jsonl"
    parts = path.with_name("a.jsonl.parts")
    counts[:] = [0] * 100
    parts.mkdir(parents=True)
    whole_files.write(path, b"1\n")
    for number in (1, 2):
      whole_files.write(parts / f"{number:08d}.part", b"%d\n" % (number + 1))
    assert segments.read(path) == b"1\n2\n3\n"
    counts.clear()
    try:
      segments.replace(path, b"4\n")
      was_killed = False
    except Killed:
      was_killed = True
    content = segments.read(path)
    assert content in (b"1\n2\n3\n", b"4\n")
    assert was_killed or content == b"4\n"
    counts[:] = [0] * 100
    segments.replace(path, content)  # the next run mends it
    assert segments.read(path) == path.read_bytes() == content
    assert not segments.has_parts(path)
  assert kill_at > 5


def test_a_second_writer_is_refused(folder):
  writers = [jsonl.writer(folder / "a.jsonl") for _ in range(2)]
  for writer, line in zip(writers, LINES, strict=False):
    writer.write(line)
  writers[0].sync()
  writers[0].write(LINES[2])
  writers[1].sync()  # takes the next number
  with pytest.raises(objects.ConflictError, match="by another process"):
    writers[0].sync()


def test_the_end_of_a_file(folder, tmp_path):
  for path in (folder / "a.jsonl", tmp_path / "a.jsonl"):
    with pytest.raises(FileNotFoundError):
      segments.tail(path, 10)
  whole_files.write(tmp_path / "a.jsonl", b"0123456789")
  assert segments.tail(tmp_path / "a.jsonl", 4) == b"6789"
  path = folder / "a.jsonl"
  appender = segments.Appender(path)
  for data in (b"012", b"345", b"6789"):
    appender.append(data)
  assert segments.tail(path, 3) == b"789"
  assert segments.tail(path, 6) == b"456789"
  assert segments.tail(path, 20) == b"0123456789"
  whole = path.with_name("a.jsonl.parts") / "00000009.whole"
  whole_files.write(whole, b"new")
  assert segments.tail(path, 20) == b"new"
