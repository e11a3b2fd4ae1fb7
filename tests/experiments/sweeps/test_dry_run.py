"""Expected time of a study's runs, as --dry_run prints it."""

import ast

import pytest

from experiments.sweeps import records, study, sweep, trials

_STUDY = """
from experiments.studies import claims
from experiments.sweeps import study

CHAIN = (study.Task("train", ("--task=train", "--config=a.py")),)
STUDY = claims.Study(
  claim="B is better than A.",
  source="arXiv 0000.00000",
  arms=(claims.Arm("a", {}), claims.Arm("b", {"train.rate": 2.0})),
  figures=(claims.Figure("R@1", "R@1"),),
  seed="train.seed",
  run_minutes=2.5,
)

def get_study():
  return STUDY.trials()
"""


def _parse(words):
  fields = {"rate": 1.0, "seed": 0}
  for word in words:
    name, _, text = word.removeprefix("--config.").partition("=")
    if name in fields:
      fields[name] = ast.literal_eval(text)
  return fields


def _last_line(path, root, capsys, **settings):
  code = sweep.run(
    root,
    config_words=[],
    study_path=str(path),
    fields={},
    parse=_parse,
    settings=sweep.Settings(dry_run=True, **settings),
  )
  assert code == 0
  return capsys.readouterr().out.strip().split("\n")[-1]


@pytest.fixture
def path(tmp_path):
  path = tmp_path / "study.py"
  path.write_text(_STUDY)
  return path


def test_the_sum_of_minutes(path, tmp_path, capsys):
  line = _last_line(path, tmp_path / "sweep", capsys)
  assert line == "6 trials of 2.5 minutes as the study expects: 15 minutes"


def test_trials_at_once_and_trials_that_are_done(path, tmp_path, capsys):
  root = tmp_path / "sweep"
  made, _ = study.load(str(path))
  records.write(root, trials.Trial(made[0]), state=records.DONE)
  line = _last_line(path, root, capsys, max_parallel=2)
  assert "; 5 are left to run: 12.5 minutes; at --max_parallel=2, 7.5 min" in (
    line
  )


def test_a_study_without_a_claim_has_no_minutes(path, tmp_path, capsys):
  path.write_text(_STUDY.replace("run_minutes=2.5,", ""))
  line = _last_line(path, tmp_path / "sweep", capsys)
  assert line == "6 trials, 0 steps"
