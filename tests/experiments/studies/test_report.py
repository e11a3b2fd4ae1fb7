"""Reports of studies: tables, refused sweeps, and the same text each time."""

import json

import numpy as np
import pytest
from scipy import stats

from experiments.studies import (
  claims,
  outcomes,
  report,
  significance,
  tables,
)
from runtime import failures
from tests.experiments.studies import synthetic

_WRITTEN = ("results.json", "results.svg", "sparkline.svg", "README.md")


@pytest.fixture
def folders(tmp_path):
  synthetic.write_sweep(tmp_path / "sweep")
  return synthetic.write_study(tmp_path / "study"), tmp_path / "sweep"


def _files(study_path):
  return {name: (study_path.parent / name).read_bytes() for name in _WRITTEN}


def test_the_report_has_means_tests_and_provenance(folders):
  study_path, sweep = folders
  block = report.write(study_path, str(sweep))
  # By hand: mean 0.12 and standard deviation 0.02 of 0.10, 0.12, 0.14.
  assert "| a, 16 | 0.120 ± 0.020 | " in block
  assert "| arm | R@1 | rank (less is better) | minutes |" in block
  assert " | 1.5 |\n| chance | 0.010 |  |  |" in block
  a, b = (np.array(synthetic.VALUES[name]) for name in ("a, 16", "b, 16"))
  p = stats.ttest_rel(b, a).pvalue
  assert f"| b, 16 - a, 16 | R@1 | +{(b - a).mean():.3f} | " in block
  assert f" | {p:.3f} | {3 * p:.3f} |" in block
  assert "correction for the 3 tests of this table" in block
  assert (
    "12 runs, 18 minutes in all; jax 0.10.2; Some CPU with 2 cores; commit"
    " 0123456789ab." in block
  )
  text = (study_path.parent / "README.md").read_text()
  assert text.startswith("# A study\n\nText before.\n\n<!-- results -->\n\n!")
  assert text.endswith(f"{block}\n\n<!-- /results -->\n\nText behind.\n")


def test_two_figures_of_an_arm_are_compared_by_seed(folders):
  study_path, sweep = folders
  report.write(study_path, str(sweep))
  made = synthetic.make(
    comparisons=(claims.Comparison("a, 16", "a, 16", ("R@1",), base="rank"),)
  )
  outcome = outcomes.read(made, study_path.parent / "results.json")
  recall = np.array(synthetic.VALUES["a, 16"])
  (test,) = significance.tests(made, outcome)
  assert test.difference == pytest.approx((recall - 1 / recall).mean())
  assert test.p == pytest.approx(stats.ttest_rel(recall, 1 / recall).pvalue)
  block = tables.block(made, outcome, "results.svg")
  assert "| a, 16 | R@1 - rank | " in block
  assert tables.summary(made, outcome).startswith("a, 16: -")


def test_results_json_has_all_that_a_trial_was(folders):
  study_path, sweep = folders
  report.write(study_path, str(sweep))
  made = json.loads((study_path.parent / "results.json").read_text())
  assert len(made["trials"]) == 12
  row = made["trials"][4]
  assert (row["arm"], row["seed"], row["seconds"]) == ("a, 64", 1, 90.0)
  assert row["changes"]["betas"] == [0.9, 1]
  assert row["figures"]["test/text_to_image/R@1"] == 0.31
  assert row["environments"] == [0]
  assert made["environments"][0]["commit"] == "0123456789abcdef"
  digests = [x["config_digest"]["train"] for x in made["trials"]]
  # Configs of this sweep differ in their seed alone.
  assert len(set(digests)) == 3


def test_a_report_is_remade_from_results_json_alone(folders):
  study_path, sweep = folders
  report.write(study_path, str(sweep))
  first = _files(study_path)
  for path in sweep.glob("*.json"):
    path.unlink()
  for name in ("results.svg", "sparkline.svg"):
    (study_path.parent / name).unlink()
  (study_path.parent / "README.md").write_text(synthetic.README)
  report.write(study_path)
  assert _files(study_path) == first


def test_a_resumed_sweep_has_the_same_report(folders):
  study_path, sweep = folders
  report.write(study_path, str(sweep))
  first = _files(study_path)
  synthetic.change(sweep, 7, state="interrupted")
  with pytest.raises(failures.RunError, match="must be done; it is interrupt"):
    report.write(study_path, str(sweep))
  assert _files(study_path) == first
  synthetic.change(sweep, 7, state="done")
  report.write(study_path, str(sweep))
  assert _files(study_path) == first


def test_a_sweep_that_is_not_the_study_is_refused(folders):
  study_path, sweep = folders
  synthetic.change(sweep, 2, state="failed", reason="exit code 1: no memory")
  path = sweep / "trials.json"
  listed = json.loads(path.read_text())
  listed["trials"][0]["changes"]["seed"] = 5
  path.write_text(json.dumps(listed))
  with pytest.raises(failures.RunError) as error:
    report.write(study_path, str(sweep))
  message = str(error.value)
  assert "arm 'a, 16', seed 0: no trial of the sweep" in message
  assert "arm 'a, 16', seed 2: trial " in message
  assert "it is failed: exit code 1: no memory" in message
  assert "is of no arm of the study" in message
  assert not (study_path.parent / "results.json").exists()


def test_a_trial_without_a_figure_is_refused(folders):
  study_path, sweep = folders
  path = sweep / "results.json"
  table = json.loads(path.read_text())
  del table["trials"][3]["figures"]["test/text_to_image/R@1"]
  path.write_text(json.dumps(table))
  with pytest.raises(
    failures.RunError, match="lacks figures test/text_to_image/R@1; it has"
  ):
    report.write(study_path, str(sweep))


def test_a_figure_may_be_the_mean_of_several(folders):
  study_path, sweep = folders
  path = sweep / "results.json"
  table = json.loads(path.read_text())
  for row in table["trials"]:
    figures = row["figures"]
    figures["de/R@1"] = 2 * figures["test/text_to_image/R@1"]
  path.write_text(json.dumps(table))
  mean = claims.Figure("mean", ("test/text_to_image/R@1", "de/R@1"))
  made = synthetic.make(figures=(mean,), comparisons=())
  outcome = outcomes.from_sweep(made, sweep)
  values = outcomes.values(outcome, made.arms[0], mean)
  expected = [1.5 * x for x in synthetic.VALUES["a, 16"]]
  assert [*values.values()] == pytest.approx(expected)
  assert not claims.Figure("loss", ("a/loss", "b/loss")).is_rising
  del table["trials"][3]["figures"]["de/R@1"]
  path.write_text(json.dumps(table))
  with pytest.raises(failures.RunError, match="lacks figures de/R@1; it has"):
    outcomes.from_sweep(made, sweep)


def test_results_json_of_another_study_is_refused(folders):
  study_path, sweep = folders
  with pytest.raises(failures.RunError, match=r"results\.json is missing"):
    report.write(study_path)
  report.write(study_path, str(sweep))
  path = study_path.parent / "results.json"
  made = json.loads(path.read_text())
  made["trials"][0]["changes"]["batch_size"] = 8
  made["trials"].pop()
  path.write_text(json.dumps(made))
  with pytest.raises(failures.RunError) as error:
    report.write(study_path)
  assert "arm 'a, 16', seed 0 was run with other changes" in str(error.value)
  assert "arm 'b, 64', seed 2 is missing" in str(error.value)
  path.write_text('{"schema": 2}')
  with pytest.raises(failures.RunError, match="must have schema 1; got 2"):
    report.write(study_path)


@pytest.mark.parametrize(
  "readme",
  ["# A study\n", "<!-- /results -->\n<!-- results -->\n"],
  ids=["no marks", "marks in the wrong order"],
)
def test_a_readme_without_marks_is_refused(folders, readme):
  study_path, sweep = folders
  (study_path.parent / "README.md").write_text(readme)
  with pytest.raises(failures.RunError, match="must have"):
    report.write(study_path, str(sweep))
  assert not (study_path.parent / "results.json").exists()


def test_what_is_no_study_or_no_sweep_is_refused(folders, tmp_path):
  study_path, _ = folders
  with pytest.raises(failures.RunError, match=r"trials\.json is missing"):
    report.write(study_path, str(tmp_path / "nothing"))
  study_path.write_text("STUDY = 3\n")
  with pytest.raises(
    failures.RunError, match="must be a claims.Study; got int"
  ):
    report.write(study_path)
  study_path.write_text("def get_study():\n  return []\n")
  with pytest.raises(failures.RunError, match="must have a STUDY"):
    report.write(study_path)


def test_holm():
  # By hand: 0.01 * 4, then 0.02 * 3, 0.03 * 2 is no less, 0.5 * 1.
  assert significance.holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx(
    [0.5, 0.04, 0.06, 0.06]
  )
  # A test without p counts in the number.
  assert significance.holm([None, 0.01]) == [None, 0.02]
  assert significance.holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize(
  ("chance", "value", "like", "text"),
  [
    (0.01, 0.0412, 0.0412, "0.041"),
    (0.0009, 0.0412, 0.0412, "0.0412"),
    # A deviation has the digits of its mean, where rounding left a little too.
    (0.0009, 1.3e-19, 0.0009, "0.0000"),
    (None, 0.00012, 0.00012, "0.00012"),
    (None, 1.5, 123.456, "1.5"),
    (None, 123.456, 123.456, "123.5"),
  ],
)
def test_digits_of_a_figure(chance, value, like, text):
  figure = claims.Figure("f", "f", chance=chance)
  assert tables.shown(figure, value, like) == text
