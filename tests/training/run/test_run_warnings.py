"""Warnings about runs that look fine and are not."""

import html
import re

import pytest

from runtime.storage import jsonl
from tests import runs
from training.run import run_warnings


def _of_run(num_examples, **changes):
  config = runs.make_config(changes)
  return run_warnings.of_run(config, num_examples)


def test_a_batch_that_repeats_images():
  assert not _of_run({"main": 16})
  assert _of_run({"main": 15}) == {
    "batch_size, data.sources": "batch_size=16 draws 16 rows from data.sources"
    " of 15 examples: images repeat within a batch"
  }
  # Without weights an epoch has all sources.
  assert not _of_run({"main": 10, "other": 6})


def test_a_source_whose_share_of_a_batch_is_larger_than_itself():
  config = runs.make_config()
  source = config.data.sources["main"]
  for name, weight in (("main", 3.0), ("other", 1.0)):
    config.data.sources[name] = type(source)(
      **{
        **vars(source),
        "weight": weight,
      }
    )
  assert run_warnings.of_run(config, {"main": 11, "other": 4}) == {
    "batch_size, data.sources.main": "batch_size=16 draws 12 rows from"
    " data.sources.main of 11 examples: images repeat within a batch"
  }
  assert not run_warnings.of_run(config, {"main": 12, "other": 4})


@pytest.mark.parametrize(
  ("side", "patch", "left"), [(16, 8, 0), (18, 8, 2), (18, 5, 3)]
)
def test_pixels_that_patches_do_not_cover(side, patch, left):
  changes = {
    "data.image_size": side,
    "model.image.image_size": side,
    "model.image.patch_size": patch,
  }
  texts = list(_of_run({"main": 16}, **changes).values())
  expected = (
    f"data.image_size={side} is no multiple of the image tower's patches of"
    f" {patch} pixels: the last {left} rows and columns of each image are cut"
    " off"
  )
  assert texts == ([expected] if left else [])


def test_a_run_without_evaluation():
  assert list(_of_run({"main": 16}, **{"evaluate.sets": {}})) == [
    "evaluate.sets"
  ]
  held_out = {"evaluate.sets": {}, "evaluate.holdout": 0.1}
  assert not _of_run({"main": 16}, **held_out)


def test_a_temperature_at_its_limit():
  config = runs.make_config({"model.scale_max": 100.0})
  assert not run_warnings.of_step(config, 7, {"train/scale": 99.9})
  # exp(log(100)) in float32.
  for scale in (99.99999, 100.00001):
    warning = run_warnings.of_step(config, 7, {"train/scale": scale})
    assert "scale_max=100 in step 7" in warning["model.scale_max"]
  unlimited = runs.make_config({"model.scale_max": 0.0})
  assert not run_warnings.of_step(unlimited, 7, {"train/scale": 1e9})


def test_a_classifier_that_hardly_learns():
  changes = {
    "total_steps": 20,
    "loss.name": "classes",
    "model.head.classes": ("red", "green", "blue"),
    "optimizer.freeze": ((r"txt/.*|log_scale|bias", True), (r".*", False)),
  }
  config = runs.make_config(changes)

  def warn(step, loss):
    values = {"train/scale": 10.0, "train/loss": loss}
    return run_warnings.of_step(config, step, values)

  assert not warn(9, 1.099)
  assert not warn(10, 1.0)
  (text,) = warn(10, 1.099).values()
  assert text.startswith(
    "train/loss is 1.099 in step 10 of 20; equal logits of all classes have"
    " 1.099: the classifier has hardly learned."
  )
  other = runs.make_config({"total_steps": 20})
  values = {"train/scale": 10.0, "train/loss": 9.0}
  assert not run_warnings.of_step(other, 20, values)


def test_a_warning_is_said_once_and_kept(tmp_path, capsys):
  writer = run_warnings.Writer(tmp_path, 0)
  writer.add({"a": "of the run"})
  for step in (3, 4):
    writer.add({"b": f"of step {step}"}, step)
  writer.add({"c": "of step 9"}, 9)
  writer.close()
  said = [f"warning: of {x}" for x in ("the run", "step 3", "step 9")]
  assert capsys.readouterr().err.splitlines() == said
  # Resumed from step 5: step 9 comes again, and the config may have changed.
  writer = run_warnings.Writer(tmp_path, 5)
  writer.add({"b": "of step 6"}, 6)
  writer.add({"d": "of the new config"})
  writer.close()
  assert capsys.readouterr().err == "warning: of the new config\n"
  assert run_warnings.read(tmp_path) == ["of step 3", "of the new config"]
  assert not run_warnings.read(tmp_path / "a run of an earlier version")


@pytest.mark.slow
def test_warnings_of_a_run_that_is_resumed(runner, tmp_path):
  def run(steps):
    result = runner.run(
      tmp_path / "run",
      f"--config.total_steps={steps}",
      "--config.evaluate.sets={}",
      "--config.optimizer.warmup_steps=0",
      "--config.data.image_size=18",
      "--config.model.image.image_size=18",
      "--config.model.image.patch_size=8",
      "--config.model.scale_init=10.0",
      "--config.model.scale_max=10.0",
    )
    assert result.code == 0, result.stderr
    said = re.findall("^warning: (.*)$", result.stderr, re.MULTILINE)
    lines = jsonl.read(tmp_path / "run" / run_warnings.NAME)
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    assert all(line["text"] in page for line in lines)
    return said, [(line["step"], line["field"]) for line in lines]

  of_run = [(None, "data.image_size"), (None, "evaluate.sets")]
  said, lines = run(3)
  assert len(said) == 3
  assert lines == [*of_run, (1, "model.scale_max")]
  said, lines = run(5)
  assert len(said) == 2  # not again that of step 1, which is kept
  assert lines == [(1, "model.scale_max"), *of_run]
