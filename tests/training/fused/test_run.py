"""Runs of fused models: results, a resumed run, processes, and checks."""

import json

import jax
import numpy as np
import pytest

from configs.parts import sources
from input_pipeline.asking import answers
from runtime import mesh as mesh_lib
from runtime.storage import jsonl
from tests import runs, tiny_fused
from tests.evaluators import test_results_schema
from tests.input_pipeline.fusing import fixture
from training import config as config_lib
from training.fused import evaluation, run
from training.run import workdir


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  """Let a run have one device: the batches are small."""
  monkeypatch.setattr(mesh_lib, "_devices", lambda: jax.devices()[:1])


_TEXTS = [f"clip {i}" for i in range(fixture.NUM)]


def _config(folder, task, **fields):
  values = tiny_fused.get_config(f"{task},{folder}")
  values.update_from_flattened_dict(fields)
  return config_lib.checked(values.to_dict())


def _run(config, folder):
  run.check(config, folder)
  assert run.run(config, folder) == 0
  results = workdir.read_results(folder)
  test_results_schema.validate(results)
  assert [*results] == ["test"]
  return results["test"]


@pytest.mark.slow
def test_retrieval_scores_all_pairs(tmp_path):
  """A run of two steps writes R@k, and the videos that each text found.

  One video cannot be decoded: it and its text have no say. In MSR-VTT's
  multiple choice, whose options are here the captions of all videos, the same
  scores choose.
  """
  values = tiny_fused.get_config(f"retrieval,{tmp_path}")
  values.total_steps = 2
  values.data.tests.choice = sources.source(
    format="layout",
    layout="msrvtt.choice",
    path=values.data.tests.test.path,
    question_fields=(("answer", "answer"), ("options", "options")),
  )
  rows = []
  for i in range(fixture.NUM):
    texts = [f"clip {(i + j) % fixture.NUM}" for j in range(fixture.NUM)]
    rows.append({"clip_name": f"video{i}", "options": texts, "answer": 0})
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "msrvtt/msrvtt_mc_test.jsonl").write_text(lines)
  broken = tmp_path / "msrvtt/videos/video2.mp4"
  broken.write_bytes(broken.read_bytes()[:400])
  config = config_lib.checked(values.to_dict())
  run.check(config, tmp_path / "run")
  assert run.run(config, tmp_path / "run") == 0
  results = workdir.read_results(tmp_path / "run")
  test_results_schema.validate(results)

  record = results["test"]
  assert record["kind"] == "video_retrieval"
  assert record["text_to_video"]["num_candidates"] == fixture.NUM - 1
  assert record["num_left_out"] == results["choice"]["num_left_out"] == 1
  protocol = record["protocol"]
  assert protocol["clips"] == 2
  assert protocol["start"] == "uniform"
  found, chosen = (
    jsonl.read(tmp_path / "run" / evaluation.ANSWERS.format(name))
    for name in ("test", "choice")
  )
  assert len(found) == len(chosen) == fixture.NUM - 1
  odds = {}
  for line in found:
    assert line["video"] in line["found"]
    assert line["log_odds"] == sorted(line["log_odds"], reverse=True)
    for video, value in zip(line["found"], line["log_odds"], strict=True):
      odds[video, line["text"]] = value
  for line in chosen:
    mine = {x: odds.get((line["example"], x), -np.inf) for x in _TEXTS}
    # The text of the broken video was scored with no other.
    assert line["answered"] in (max(mine, key=mine.__getitem__), "clip 2")
  faults = jsonl.read(tmp_path / "run/data_errors.jsonl")
  names = {line["key"] for line in faults if "key" in line}
  assert names == {"videos/video2.mp4"}


@pytest.mark.slow
def test_answers_are_judged_by_type(tmp_path):
  """The run's folder has the vocabulary, and each question's answer."""
  config = _config(tmp_path, "answers", total_steps=2)
  record = _run(config, tmp_path / "run")
  assert [*record["accuracy"]] == ["overall", "how", "what"]
  # One video of the 5 questions is not there.
  assert record["num_questions"] == {"overall": 4, "how": 1, "what": 3}
  assert record["num_left_out"] == 1
  # Guesses are "red heart" and "six": right are 2 of 3, and none of 1.
  assert record["chance"] == pytest.approx(
    {"overall": 0.5, "how": 0.0, "what": 2 / 3}
  )
  kept = answers.kept(tmp_path / "run")
  assert kept is not None
  assert kept.listed[0] == "red heart"
  lines = jsonl.read(tmp_path / "run" / evaluation.ANSWERS.format("test"))
  assert np.mean([line["value"] for line in lines]) == pytest.approx(
    record["accuracy"]["overall"]
  )
  assert all(line["answered"] in kept.listed for line in lines)
  with pytest.raises(workdir.WorkdirError, match="one of --task=fuse"):
    workdir.check_encoder(tmp_path / "run", config)


@pytest.mark.long
def test_choices_are_judged(tmp_path):
  record = _run(_config(tmp_path, "choices"), tmp_path / "run")
  assert record["chance"] == {"overall": 0.2}
  lines = jsonl.read(tmp_path / "run" / evaluation.ANSWERS.format("test"))
  assert {line["answered"] for line in lines} <= {*fixture.OPTIONS}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["clipbert", "meter"])
def test_pretraining_is_judged(tmp_path, kind):
  values = tiny_fused.get_config(f"pretraining,{tmp_path}")
  values = tiny_fused.with_images(values)
  if kind == "meter":
    values = tiny_fused.meter(values)
  config = config_lib.checked(values.to_dict())
  record = _run(config, tmp_path / "run")
  assert record["num_rows"] == 240
  # Half of the texts are of other images, but for a row alone in its batch.
  assert 0.5 <= record["chance"]["matching_accuracy"] < 0.6
  assert record["words_loss"] < record["chance"]["words_loss"] + 0.5


@pytest.mark.long
@pytest.mark.parametrize("task", ["retrieval", "answers", "choices"])
def test_a_resumed_run_has_the_same_bits(tmp_path, task):
  """4 steps; and 2, then the other 2: the same losses, arrays and results."""
  whole, halves = tmp_path / "whole", tmp_path / "halves"
  _run(_config(tmp_path, task), whole)
  for total_steps in (2, 4):
    _run(_config(tmp_path, task, total_steps=total_steps), halves)
  assert runs.train_lines(whole) == runs.train_lines(halves)
  assert _digests(whole) == _digests(halves)
  assert workdir.read_results(whole) == workdir.read_results(halves)


def _digests(folder):
  path = folder / workdir.CHECKPOINTS / "4/_CHECKPOINT_METADATA"
  metadata = json.loads(path.read_text())["custom_metadata"]
  return {name: metadata[name] for name in ("params", "optimizer")}


@pytest.mark.long
@pytest.mark.parametrize("task", ["retrieval", "answers"])
def test_two_processes_train_and_judge_alike(tmp_path, task):
  """Two processes of a device each: losses and figures of one with two."""
  runner = runs.Runner(tmp_path, None)
  found = {}
  for num_processes in (1, 2):
    folder = tmp_path / f"run{num_processes}"
    started = runner.start_cluster(
      *(folder, num_processes, "--task=fuse"),
      num_devices=2,
      config=f"tests/tiny_fused.py:{task},{tmp_path}",
    )
    for result in [*map(runs.finish, started)]:
      assert result.code == 0, result.stderr
    losses = [json.loads(x)["train/loss"] for x in runs.train_lines(folder)]
    found[num_processes] = losses, workdir.read_results(folder)
  np.testing.assert_allclose(found[1][0], found[2][0], rtol=1e-5)
  first, second = found[1][1]["test"], found[2][1]["test"]
  assert first.keys() == second.keys()
  for name in ("accuracy", "text_to_video", "chance", "num_left_out"):
    assert first.get(name) == second.get(name)


def test_runs_that_cannot_begin_say_why(tmp_path):
  config = _config(tmp_path, "answers")
  off = tiny_fused.get_config(f"answers,{tmp_path}")
  off.fusion.kind = ""
  with pytest.raises(ValueError, match='"clipbert" or "meter"'):
    run.check(config_lib.checked(off.to_dict()), tmp_path)
  other = tiny_fused.get_config(f"retrieval,{tmp_path}")
  other.data.tests.test.question_fields = fixture.TYPED
  other.init_from = str(tmp_path / "none")
  with pytest.raises(ValueError, match="2 problems") as error:
    run.check(config_lib.checked(other.to_dict()), tmp_path)
  assert "data.tests.test.question_fields must be (), or" in str(error.value)
  assert "init_from" in str(error.value)
  # Another task's run does not become this one.
  wrong = _config(tmp_path, "answers", **{"fusion.num_answers": 9})
  run.check(wrong, tmp_path / "run")
  with pytest.raises(ValueError, match=r"fusion\.num_answers must be at most"):
    run.run(wrong, tmp_path / "run")
  assert not (tmp_path / "run").exists()
  del config
