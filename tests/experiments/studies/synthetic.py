"""Folders of studies and of their sweeps, as --task=sweep writes them."""

import json
import pathlib

from experiments.studies import claims
from experiments.sweeps import records, results, study, trials

FIGURES = (
  claims.Figure("R@1", "test/text_to_image/R@1", chance=0.01),
  claims.Figure("rank", "test/text_to_image/median_rank"),
)
# Arm -> R@1 of seeds 0, 1 and 2.
VALUES = {
  "a, 16": (0.10, 0.12, 0.14),
  "a, 64": (0.30, 0.31, 0.35),
  "b, 16": (0.21, 0.22, 0.26),
  "b, 64": (0.31, 0.29, 0.36),
}
_TEXT = '''"""Study that tests make."""

from tests.experiments.studies import synthetic

STUDY = synthetic.make()


def get_study():
  return STUDY.trials()
'''
README = """# A study

Text before.

<!-- results -->
<!-- /results -->

Text behind.
"""
_ENVIRONMENT = {
  "python": "3.11.7",
  "versions": {"jax": "0.10.2"},
  "commit": "0123456789abcdef",
  "hardware": {"cpu": "Some CPU", "cores": 2},
}


def make(**changes) -> claims.Study:
  """Return a study of two groups at two batch sizes."""
  fields = {
    "claim": "B is better than A at small batches.",
    "source": "arXiv 0000.00000, table 1",
    "arms": tuple(
      claims.Arm(
        name,
        {"loss.name": name[0], "batch_size": int(name[3:]), "betas": (0.9, 1)},
        group=f"loss {name[0]}",
        x=int(name[3:]),
      )
      for name in VALUES
    ),
    "figures": FIGURES,
    "comparisons": (
      claims.Comparison("a, 16", "b, 16", ("R@1", "rank")),
      claims.Comparison("a, 64", "b, 64"),
    ),
    "chart": claims.Lines("pairs in a batch", is_log=True),
    "run_minutes": 2.0,
  }
  return claims.Study(**{**fields, **changes})


def write_study(folder: pathlib.Path, readme: str = README) -> pathlib.Path:
  """Write a study's folder; return its study file."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "README.md").write_text(readme)
  (folder / "study.py").write_text(_TEXT)
  return folder / "study.py"


def write_sweep(root: pathlib.Path, made: claims.Study | None = None) -> None:
  """Write a sweep whose trials are done, by the sweep's own functions."""
  made = made or make()
  base = _base()
  listed = [trials.Trial(changes, steps=9) for changes in made.trials()]
  records.write_list(root, listed, base)
  for (arm, seed, _), trial in zip(made.runs(), listed, strict=True):
    recall = VALUES[arm.name][seed]
    figures = {"R@1": recall, "median_rank": 1 / recall}
    folder = root / trial.id
    folder.mkdir(parents=True)
    text = json.dumps({"test": {"text_to_image": figures}})
    (folder / "results.json").write_text(text)
    (folder / "config.json").write_text(json.dumps({"config": {"seed": seed}}))
    (folder / "starts.jsonl").write_text(
      json.dumps({"start": 1, **_ENVIRONMENT}) + "\n"
    )
    records.write(root, trial, state=records.DONE, reason="", seconds=90.0)
  results.write(root, listed, base)


def change(root: pathlib.Path, number: int, **fields) -> None:
  """Change the record of a trial, and write the sweep's table again."""
  base = _base()
  listed = [trials.Trial(changes, steps=9) for changes in make().trials()]
  records.write(root, listed[number], **fields)
  results.write(root, listed, base)


def _base() -> trials.Base:
  task = study.Task("train", ("--task=train", "--workdir={train}"))
  return trials.Base((task,), lambda words: {}, lambda value: None)
