"""Shares of the machine for trials that run at once."""

import os
import subprocess
import sys

import pytest

from experiments.sweeps import slots


def test_one_trial_has_all():
  (slot,) = slots.divide(1)
  assert not slot.processors
  assert not slot.variables


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_processors_are_divided():
  here = os.sched_getaffinity(0)
  held = []
  for slot in slots.divide(2):
    with slot.held():
      code = "import os; print(*os.sched_getaffinity(0))"
      text = subprocess.check_output([sys.executable, "-c", code], text=True)
    held.append({int(word) for word in text.split()})
  assert held[0] | held[1] == here
  assert not held[0] & held[1]
  assert os.sched_getaffinity(0) == here


def test_more_trials_than_processors():
  count = len(os.sched_getaffinity(0)) + 1
  assert {len(slot.processors) for slot in slots.divide(count)} == {1}


def test_gpus_are_divided(monkeypatch):
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
  shares = [dict(slot.variables) for slot in slots.divide(2)]
  assert shares == [
    {"CUDA_VISIBLE_DEVICES": "0,1"},
    {"CUDA_VISIBLE_DEVICES": "2,3"},
  ]
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
  shares = [dict(slot.variables) for slot in slots.divide(2)]
  fraction = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}
  assert shares == [{"CUDA_VISIBLE_DEVICES": "5"} | fraction] * 2
