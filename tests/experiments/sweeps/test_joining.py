"""Further processes of a trial become runs of main.py."""

import os

import pytest

from experiments.sweeps import joining, records, study, sweep, trials
from runtime import cluster, failures

_TRIAL = trials.Trial({"seed": 1}, steps=4)
_BASE = trials.Base(
  (study.Task("train", ("--task=train", "--workdir={train}")),), dict, print
)


def test_a_further_process_is_the_trials(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(os, "execve", lambda *args: calls.append(args))
  assert joining.follow(tmp_path, _TRIAL, _BASE) == 0
  ((program, words, variables),) = calls
  assert words[0] == program
  folder = tmp_path / _TRIAL.id
  assert words[2:] == ["--task=train", f"--workdir={folder}", "--config.seed=1"]
  cache = variables["JAX_COMPILATION_CACHE_DIR"]
  assert cache == str(tmp_path / ".jax_cache")
  records.write(
    tmp_path,
    _TRIAL,
    state=records.DONE,
    finished=_BASE.commands(records.ROOT, _TRIAL),
  )
  assert joining.follow(tmp_path, _TRIAL, _BASE) == 0
  assert len(calls) == 1


def test_several_processes_run_one_trial(tmp_path, monkeypatch):
  monkeypatch.setattr(cluster, "announced", lambda: (1, 2))
  monkeypatch.setattr(sweep, "_base", lambda *args: _BASE)
  monkeypatch.setattr(trials, "of_flags", lambda *args: [{}])
  monkeypatch.setattr(trials, "resolve", lambda *args: [_TRIAL])
  with pytest.raises(failures.RunError, match="2 processes runs one trial"):
    sweep.run(
      tmp_path,
      config_words=[],
      study_path="",
      fields={},
      parse=dict,
      settings=sweep.Settings(),
    )
  assert list(tmp_path.iterdir()) == []
