"""Adaptive search with Optuna itself, on a function instead of training."""

import math
import sys

import pytest

from experiments.sweeps import adaptive, study
from runtime.storage import whole_files

_SETTINGS = study.Adaptive(
  {
    "rate": study.log_uniform(1e-4, 1.0),
    "depth": study.integers(1, 4),
    "scale": [(0.5, 1.0), (0.8, 1.0)],
  },
  figure="score",
  num_trials=30,
)


def _score(changes):
  return -((math.log10(changes["rate"]) + 2) ** 2)


def _check(root):
  search = adaptive.Search(root, _SETTINGS)
  told = []
  while asked := search.ask(2):
    assert len(asked) <= 2
    for changes in asked:
      assert 1e-4 <= changes["rate"] <= 1
      assert changes["depth"] in (1, 2, 3, 4)
      assert changes["scale"] in ((0.5, 1.0), (0.8, 1.0))
    if len(told) == 12:
      # Killed with two trials that were asked for: they come first.
      search = adaptive.Search(root, _SETTINGS)
      assert search.ask(2) == asked
    for changes in asked:
      search.tell(changes, None if len(told) == 4 else _score(changes))
      told.append(changes)
  assert len(told) == 30
  assert search.changes() == told
  # No start draws what another one drew.
  assert len({changes["rate"] for changes in told}) == 30
  early = sum(_score(changes) for changes in told[:10]) / 10
  late = sum(_score(changes) for changes in told[-10:]) / 10
  assert late > early
  assert adaptive.Search(root, _SETTINGS).ask(1) == []


def test_search_finds_better_values_and_resumes(tmp_path):
  _check(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_journal_in_a_bucket(folder):
  _check(folder)
  journal = folder / adaptive.IN_BUCKET
  names = sorted(whole_files.sizes(journal))
  assert names[0] == "000000000.json"
  (journal / names[3]).unlink()
  with pytest.raises(ValueError, match=f"before {names[4]}; restore that"):
    adaptive.Search(folder, _SETTINGS)


def test_without_optuna(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "optuna", None)
  with pytest.raises(ModuleNotFoundError, match="pip install 'optuna"):
    adaptive.Search(tmp_path, _SETTINGS)
