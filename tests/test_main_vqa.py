"""main.py --task=vqa: an autoencoder, answers from it, stopped and resumed."""

import json
import pathlib

import numpy as np
import pytest

from runtime.storage import jsonl
from tests import question_runs, runs
from tests.evaluators import test_results_schema
from tests.input_pipeline.questions import fixture
from training.run import workdir
from training.vqa import evaluation, parts

_BEFORE = "from tests import question_runs; import pathlib"
_CALL = "question_runs.before_main(pathlib.Path({!r}))"


@pytest.mark.slow
def test_stopped_run_goes_on_to_the_same_bits(tmp_path: pathlib.Path):
  rad = fixture.write_rad(tmp_path / "rad")
  runner = runs.Runner(tmp_path / "cache", tmp_path / "compiled")
  process = runner.start(
    tmp_path / question_runs.STOPPED,
    *("--task=vqa", f"--config.vqa.path={rad}"),
    f"--config.vqa.autoencoder_from={tmp_path / question_runs.AUTOENCODER}",
    config="tests/tiny_questions.py",
    before=f"{_BEFORE}; {_CALL.format(str(tmp_path))}",
  )
  result = runs.finish(process, patience=480)  # it is four runs
  assert result.code == 0, result.stderr
  assert "Exit code: 75\n" in result.stdout
  step = question_runs.STOP_AFTER
  for line in (
    "Split test: ",
    "Autoencoder: that of step 4 of ",
    f"SIGTERM: saved step {step} of 4",
    f"Resuming from the checkpoint of step {step}",
  ):
    assert line in result.stderr
  assert "exact match" in result.stdout
  stopped, whole = (
    tmp_path / name
    for name in (question_runs.STOPPED, question_runs.UNDISTURBED)
  )
  assert runs.train_lines(stopped) == runs.train_lines(whole)
  assert _digests(stopped) == _digests(whole)
  one, other = (
    (folder / workdir.RESULTS).read_bytes() for folder in (stopped, whole)
  )
  assert one == other
  _check_results(stopped, json.loads(one))
  _check_autoencoder(tmp_path / question_runs.AUTOENCODER)


def _digests(folder: pathlib.Path) -> dict[str, str]:
  """Return digests of the last step's parameters and optimizer state."""
  path = folder / workdir.CHECKPOINTS / "4/_CHECKPOINT_METADATA"
  metadata = json.loads(path.read_text())["custom_metadata"]
  return {name: metadata[name] for name in ("params", "optimizer")}


def _check_results(folder: pathlib.Path, results: dict) -> None:
  test_results_schema.validate(results)
  assert [*results] == ["vqa_rad", "vqa_rad_validation"]
  record = results["vqa_rad"]
  assert record["num_questions"]["overall"] == 3
  answers = jsonl.read(folder / evaluation.ANSWERS)
  assert np.mean([line["right"] for line in answers]) == record["overall"]
  words = json.loads((folder / parts.VOCABULARY).read_text())["words"]
  assert "strangely" not in words  # a word of the test split alone
  config = workdir.read_config(folder)
  assert config is not None
  with pytest.raises(workdir.WorkdirError, match="answers questions"):
    workdir.check_encoder(folder, config)


def _check_autoencoder(folder: pathlib.Path) -> None:
  results = workdir.read_results(folder)
  test_results_schema.validate(results)
  record = results["holdout"]
  # Gaussian noise of 0.1 has 20 dB, and more where it is cut off at 0 and 1.
  assert 19.5 < record["chance"]["psnr"] < 23
  assert record["gain"] == pytest.approx(
    record["psnr"] - record["chance"]["psnr"]
  )
  assert [r["step"] for r in runs.rows(folder) if "holdout/psnr" in r] == [2]
