"""Scaling law: frontier, fit, prediction of the arm that is held out."""

import numpy as np
import pytest

from experiments.openclip import config, law, law_chart, study
from runtime import failures

FIGURE = study.STUDY.figures[0]


def _outcome(error_of):
  """Return an outcome with an error for each arm and seed."""
  return {
    "trials": [
      {
        "arm": arm.name,
        "seed": seed,
        "figures": {
          figure.name: 1 - error_of(arm, seed) for figure in study.STUDY.figures
        },
      }
      for arm in study.STUDY.arms
      for seed in range(3)
    ]
  }


def _exact(arm, seed):
  return (2 + 0.1 * seed) * arm.x**-0.1


def test_an_exact_law_is_found():
  made = law.laws(study.STUDY, _outcome(_exact), FIGURE)
  assert [*made] == ["0", "1", "2"]
  for seed, found in made.items():
    assert found.exponent == pytest.approx(0.1)
    assert found.factor == pytest.approx(2 + 0.1 * int(seed))
    assert found.predicted == pytest.approx(found.measured)
  text = law.block(law.by_figure(study.STUDY, _outcome(_exact)))
  assert "| 0.100 ± 0.000 (3) |" in text
  assert "width 128 with 65,536 pairs" in text


def test_the_held_out_arm_does_not_decide_the_law():
  largest = config.compute(*config.HELD_OUT)

  def worse(arm, seed):
    return 0.99 if arm.x == largest else _exact(arm, seed)

  made = law.laws(study.STUDY, _outcome(worse), FIGURE)
  assert made["0"].exponent == pytest.approx(0.1)
  assert made["0"].measured == pytest.approx(0.99)


def test_frontier():
  compute_N = np.array([4.0, 1.0, 2.0, 2.0])
  error_N = np.array([0.3, 0.5, 0.6, 0.4])
  assert law.frontier(compute_N, error_N) == [1, 3, 0]


def test_errors_that_do_not_fall_are_refused():
  rising = _outcome(lambda arm, seed: 0.1 + 1e-5 * arm.x)
  with pytest.raises(failures.RunError, match="needs three arms"):
    law.laws(study.STUDY, rising, FIGURE)


def test_the_chart_has_a_panel_for_each_figure_and_the_held_out_arm():
  outcome = _outcome(_exact)
  found = law.by_figure(study.STUDY, outcome)
  svg = law_chart.draw(study.STUDY, outcome, found)
  for figure in study.STUDY.figures:
    assert f"1 - {figure.label}" in svg
  assert "width 128, held out" in svg
  assert svg == law_chart.draw(study.STUDY, outcome, found)
