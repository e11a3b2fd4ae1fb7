"""State of trials, as their folders and locks have it."""

import pytest

from experiments.sweeps import records, study, trials
from runtime import failures

_TRIAL = trials.Trial({"seed": 1}, steps=4)


def test_state(tmp_path):
  name, trial = _TRIAL.id, (_TRIAL, _base())
  assert records.state(tmp_path, *trial) == records.WAITING
  with records.claim(tmp_path, *trial) as files:
    assert files
    records.write(tmp_path, _TRIAL, state=records.RUNNING)
    assert records.state(tmp_path, *trial) == records.RUNNING
    with records.claim(tmp_path, *trial) as other:
      assert other is None
  # Nobody has its lock: what ran it is gone.
  assert records.state(tmp_path, *trial) == records.INTERRUPTED
  records.write(tmp_path, _TRIAL, state=records.DONE, finished={"train": ["a"]})
  assert records.state(tmp_path, *trial) == records.DONE
  record = records.read(tmp_path, name)
  assert records.is_done(record, {"train": ["a"]})
  assert not records.is_done(record, {"train": ["a", "b"]})


def _base(*flags):
  return trials.Base(
    (study.Task("train", flags),),
    lambda words: {},
    print,
    lambda field: field == "total_steps",
  )


def test_a_list_of_other_flags_is_refused(tmp_path):
  flags = ["--config=a.py", "--config.batch_size=8"]
  records.write_list(tmp_path, [_TRIAL], _base(*flags))
  records.write_list(tmp_path, [], _base(*flags, "--config.total_steps=9"))
  with pytest.raises(failures.RunError) as error:
    records.write_list(tmp_path, [], _base("--config=b.py", flags[1]))
  assert "--config: 'a.py' in the folder, 'b.py' now" in str(error.value)
  with pytest.raises(failures.RunError, match="batch_size: '8' in the folder"):
    records.write_list(tmp_path, [], _base(flags[0]))


def test_reason(tmp_path):
  log = tmp_path / "log.txt"
  log.write_text("error: old\nstep 1\nerror: the loss is nan\n  more\n")
  assert records.reason(log, 1) == "exit code 1: the loss is nan"
  assert records.reason(log, -9).startswith("signal 9 (SIGKILL mostly means")
  log.write_text("Traceback\nKeyError: 'x'\n")
  assert records.reason(log, 1) == "exit code 1: KeyError: 'x'"
  assert records.reason(tmp_path / "none", 3) == "exit code 3"


def test_last_step(tmp_path):
  path = tmp_path / "metrics.jsonl"
  assert records.last_step(path) == 0
  path.write_text('{"step": 3, "a": 1}\n{"step": 4, "a": 1}\n{"step": 5, "')
  assert records.last_step(path) == 4
