"""Record of a run's starts."""

import json
import os
import time

import pytest

from runtime import provenance
from runtime.storage import jsonl
from training.run import starts


def _start(folder, first_step=0, seconds=0.0):
  with starts.recorded(folder, first_step, time.monotonic() - seconds):
    pass


def test_each_start_has_a_record_and_time(tmp_path, monkeypatch):
  monkeypatch.setenv("MY_TOKEN", "hunter2")
  _start(tmp_path, seconds=100.0)
  _start(tmp_path, first_step=7, seconds=20.0)
  first, _, second, _ = jsonl.read(tmp_path / starts.NAME)
  assert (first["start"], second["start"]) == (1, 2)
  assert (first["first_step"], second["first_step"]) == (0, 7)
  for name in ("command", "python", "versions", "commit", "hardware", "time"):
    assert first[name], name
  assert first["hardware"]["devices"] == "8 cpu"
  text = (tmp_path / starts.NAME).read_text()
  assert "hunter2" not in text
  assert "MY_TOKEN" not in text
  cost = starts.total(tmp_path)
  assert cost.num_starts == 2
  assert cost.seconds == pytest.approx(120, abs=5)


def test_a_killed_start_has_its_last_time(tmp_path, monkeypatch):
  monkeypatch.setattr(starts, "_FIRST_SECONDS", 0.01)
  with starts.recorded(tmp_path, 0, time.monotonic() - 50):
    deadline = time.monotonic() + 10
    while starts.total(tmp_path).seconds < 50:
      assert time.monotonic() < deadline
      time.sleep(0.01)


def test_changes_are_files_of_their_digest(tmp_path, monkeypatch):
  code = provenance.Code("abc", b"a diff\n", 7, ("new.py",))
  monkeypatch.setattr(provenance, "code", lambda: code)
  _start(tmp_path)
  _start(tmp_path)
  line = jsonl.read(tmp_path / starts.NAME)[0]
  assert line["untracked"] == ["new.py"]
  assert (tmp_path / line["diff"]).read_bytes() == b"a diff\n"
  assert len(os.listdir(tmp_path / starts.CODE)) == 1
  facts = starts.facts(tmp_path)
  assert facts["commit"] == f"abc and {line['diff']}"

  code = provenance.Code("abc", b"", 2_000_000)
  (tmp_path / "b").mkdir()
  _start(tmp_path / "b")
  line = jsonl.read(tmp_path / "b" / starts.NAME)[0]
  assert line["diff"] == "2,000,000 bytes, which are not kept"


def _write(folder, *lines):
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (folder / starts.NAME).write_text(text)


def test_totals_of_all_starts(tmp_path):
  assert starts.total(tmp_path) is None
  assert starts.facts(tmp_path) == {}
  _write(
    tmp_path,
    {"start": 1, "seconds": 1.0, "energy_j": {"cpu": 1e6, "gpu": 1e6}},
    {"start": 1, "seconds": 10.0, "energy_j": {"cpu": 2e6, "gpu": 1e6}},
    {"start": 2, "seconds": 5.0, "energy_j": {"cpu": 1e6, "gpu": 3.2e6}},
  )
  cost = starts.total(tmp_path)
  assert (cost.num_starts, cost.seconds) == (2, 15.0)
  assert cost.joules == {"cpu": 3e6, "gpu": 4.2e6}
  assert cost.kwh == pytest.approx(2.0)
  assert starts.energy(cost) == "2 kWh (cpu, gpu)"


@pytest.mark.parametrize(
  "second",
  [
    {"start": 2, "seconds": 5.0, "energy_j": "not measured"},
    {"start": 2, "seconds": 5.0, "energy_j": {"cpu": 1.0}},
    {"start": 2},  # killed at once
  ],
)
def test_a_part_of_the_energy_is_no_figure(tmp_path, second):
  first = {"start": 1, "seconds": 1.0, "energy_j": {"cpu": 1.0, "gpu": 1.0}}
  _write(tmp_path, first, second)
  cost = starts.total(tmp_path)
  assert cost.kwh is None
  assert starts.energy(cost) == "not measured"
