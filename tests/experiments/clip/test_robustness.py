"""Effective robustness: lines by seed, distances from them, and refusals."""

import json
import shutil

import numpy as np
import pytest
from scipy import special

from experiments.clip import robustness, study
from experiments.studies import outcomes
from runtime import failures

SLOPE, INTERCEPT = 0.9, -0.5
# Distances from the line that the synthetic models have, in accuracy.
ABOVE = {"ensemble": 0.03}


def _on_line(test, seed):
  return special.expit(INTERCEPT + 0.1 * seed + SLOPE * special.logit(test))


def _figures(number, seed):
  """Return the figures of an arm: classifiers on the line, others above it."""
  made = {}
  kinds = (*study.PROMPTS, *map(study.probe, study.SHOTS), study.CLASSIFIER)
  for kind in kinds:
    test = 0.2 + 0.05 * number
    above = ABOVE.get(kind, 0.01 * (seed - 1))
    if kind == study.CLASSIFIER:
      above = 0
    values = {"test": test, "style": _on_line(test, seed) + above}
    for split, value in values.items():
      made[study.figure(split, kind).name] = float(value)
  return made


def _outcome(**changed):
  """Return the outcome of trials whose line moves with the seed."""
  return {
    "schema": 1,
    "environments": [],
    "trials": [
      {
        "arm": arm.name,
        "seed": seed,
        "changes": json.loads(json.dumps(arm.changes)),
        "figures": _figures(number, seed) | changed,
        "seconds": 60.0,
      }
      for number, arm in enumerate(study.STUDY.arms)
      for seed in range(3)
    ],
  }


def test_a_line_that_is_there_is_found():
  made = robustness.lines(_outcome())
  assert [*made] == ["0", "1", "2"]
  for seed, line in made.items():
    assert line.slope == pytest.approx(SLOPE)
    assert line.intercept == pytest.approx(INTERCEPT + 0.1 * int(seed))
    assert line.residual == pytest.approx(0, abs=1e-9)
    assert (line.low, line.high) == pytest.approx((0.2, 0.55))


def test_distances_are_means_over_arms_by_seed():
  found = {one.kind: one for one in robustness.distances(_outcome())}
  assert [*found] == [*robustness.KINDS]
  for kind, one in found.items():
    for seed in ("0", "1", "2"):
      distance = one.style[seed] - one.expected[seed]
      assert distance == pytest.approx(ABOVE.get(kind, 0.01 * (int(seed) - 1)))
    assert (one.num_beyond, one.num) == (0, 3 * len(study.WITH_SENTENCES))
  # The arm without sentences has a classifier, and none of the other models.
  assert found["ensemble"].test["0"] == pytest.approx(
    np.mean([0.2 + 0.05 * x for x in range(len(study.WITH_SENTENCES))])
  )


def test_points_beyond_the_line_are_counted():
  outcome = _outcome()
  name = study.figure("test", "ensemble").name
  outcome["trials"][0]["figures"][name] = 0.1
  outcome["trials"][4]["figures"][name] = 0.9
  first = robustness.distances(outcome)[0]
  assert (first.kind, first.num_beyond) == ("ensemble", 2)


def test_the_block_has_lines_distances_and_tests():
  text = robustness.block(_outcome())
  assert "b = 0.900 ± 0.000 (3) and a = -0.400 ± 0.100 (3)" in text
  assert "They have 0.200 to 0.550 on test." in text
  (row,) = (x for x in text.splitlines() if "| zero-shot, ensemble |" in x)
  # The same distance for all seeds has no p.
  assert "+0.030 (+0.030 to +0.030) | none | none | 0 of 21 |" in row
  # By hand: t of mean 0, and standard deviation 0.01 of three seeds.
  (row,) = (x for x in text.splitlines() if "| probe of 16 shots |" in x)
  assert "(-0.025 to +0.025) | 1.000 | 1.000 | 0 of 21 |" in row


@pytest.mark.parametrize(
  ("split", "kind", "value", "message"),
  [
    ("style", study.CLASSIFIER, 0.0, "of classifier must be above 0"),
    ("test", "ensemble", 1.0, "of ensemble must be above 0 and below 1"),
    ("test", study.CLASSIFIER, 0.4, "three different accuracies"),
  ],
)
def test_accuracies_without_a_line_are_refused(split, kind, value, message):
  outcome = _outcome(**{study.figure(split, kind).name: value})
  with pytest.raises(failures.RunError, match=message):
    robustness.distances(outcome)


def test_block_and_chart_are_made_from_results_json_alone(tmp_path):
  (tmp_path / "README.md").write_text(
    "# A\n\n<!-- robustness -->\n<!-- /robustness -->\n\nText behind.\n"
  )
  outcomes.write(tmp_path / outcomes.JSON, _outcome())
  text = robustness.write(tmp_path)
  first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  assert {*first} == {"README.md", "results.json", "robustness.svg"}
  assert text in first["README.md"].decode()
  assert first["README.md"].decode().endswith("Text behind.\n")
  assert "line of the classifiers, 95 %" in first["robustness.svg"].decode()
  assert robustness.write(tmp_path) == text
  again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  assert again == first
  shutil.copy(tmp_path / "README.md", tmp_path / "kept.md")
  (tmp_path / "README.md").write_text("# No marks\n")
  (tmp_path / "robustness.svg").unlink()
  with pytest.raises(failures.RunError, match="must have the lines"):
    robustness.write(tmp_path)
  assert not (tmp_path / "robustness.svg").exists()
