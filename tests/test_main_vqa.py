"""main.py --task=vqa: trained, resumed to the bit, its answers written."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from runtime.storage import jsonl
from tests import runs
from tests.evaluators import test_results_schema
from tests.input_pipeline.questions import fixture
from training.run import workdir
from training.vqa import evaluation, run


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
  folder = fixture.write_rad(tmp_path_factory.mktemp("set") / "rad")
  runner = runs.Runner(folder.parent / "cache", None)
  config = "tests/tiny_questions.py"
  args = "--task=vqa", f"--config.vqa.path={folder}"
  return lambda path, *more: runner.run(path, *args, *more, config=config)


@pytest.mark.slow
def test_run_resumes_to_the_bit_and_is_whole(tmp_path: pathlib.Path, runner):
  folder = tmp_path / "run"
  result = runner(folder)
  assert result.code == 0, result.stderr
  assert "Split test: " in result.stderr
  assert "exact match" in result.stdout
  lines = runs.train_lines(folder)
  results = (folder / workdir.RESULTS).read_bytes()
  # As if the run had been killed in its second epoch.
  steps = sorted(
    (folder / workdir.CHECKPOINTS).iterdir(), key=lambda p: int(p.name)
  )
  for step in steps[1:]:
    shutil.rmtree(step)
  (folder / workdir.RESULTS).unlink()
  again = runner(folder)
  assert again.code == 0, again.stderr
  assert "Resuming from the checkpoint of step 1" in again.stderr
  assert runs.train_lines(folder) == lines
  assert (folder / workdir.RESULTS).read_bytes() == results
  _check_results(folder, json.loads(results))


def _check_results(folder: pathlib.Path, results: dict) -> None:
  test_results_schema.validate(results)
  assert [*results] == ["vqa_rad", "vqa_rad_validation"]
  record = results["vqa_rad"]
  assert record["num_questions"]["overall"] == 3
  answers = jsonl.read(folder / evaluation.ANSWERS)
  assert np.mean([line["right"] for line in answers]) == record["overall"]
  words = json.loads((folder / run.VOCABULARY).read_text())["words"]
  assert "strangely" not in words  # a word of the test split alone
  config = workdir.read_config(folder)
  assert config is not None
  with pytest.raises(workdir.WorkdirError, match="answers questions"):
    workdir.check_encoder(folder, config)
