import io
import re

import pytest

from runtime import progress


class _Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


def _run(stream: io.StringIO, monkeypatch, **options) -> str:
  clock = iter(range(100))
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  with progress.Progress("Work", 40, stream=stream, **options) as bar:
    for _ in range(40):
      bar.advance()  # one second each
  return stream.getvalue()


def test_terminal_has_one_moving_line(monkeypatch):
  text = _run(_Terminal(), monkeypatch)
  lines = text.split("\r")[1:]
  assert len(lines) == 41
  assert lines[9] == "Work: 10/40, 1/s, 30 s left\x1b[K"
  assert lines[-1] == "Work: 40/40, 41.0 s\x1b[K\n"


def test_slow_work_has_seconds_each(monkeypatch):
  clock = iter(range(0, 400, 4))
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  stream = _Terminal()
  with progress.Progress("Work", 40, stream=stream) as bar:
    bar.advance()
  assert "Work: 1/40, 4.0 s each, 156 s left" in stream.getvalue()


def test_log_has_a_line_at_times(monkeypatch):
  text = _run(io.StringIO(), monkeypatch, plain_seconds=10)
  lines = text.splitlines()
  assert len(lines) == 5
  assert "\r" not in text
  assert re.fullmatch(r"Work: 10/40, 1/s, 30 s left", lines[0])
  assert lines[-1] == "Work: 40/40, 41.0 s"


@pytest.mark.parametrize("kind", [_Terminal, io.StringIO])
def test_short_work_is_silent(monkeypatch, kind):
  assert not _run(kind(), monkeypatch, delay=41.0)
  text = _run(kind(), monkeypatch, delay=30.0)
  assert text.replace("\r", "").startswith("Work: 30/40, 1/s, 10 s left")
  assert text.endswith("\n")
