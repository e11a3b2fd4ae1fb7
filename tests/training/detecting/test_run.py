"""A run of a detector: stopped, resumed, its results and its checks."""

import json

import jax
import pytest

from runtime import mesh as mesh_lib
from runtime.storage import jsonl
from tests import runs, tiny_boxes
from tests.evaluators import test_results_schema
from tests.input_pipeline.detecting import fixture
from training import config as config_lib
from training.detecting import evaluation, run
from training.run import workdir


def _config(path, **fields):
  values = tiny_boxes.get_config()
  values.detection.path = str(path)
  values.update(fields)
  return config_lib.checked(values.to_dict())


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  """Let a run have one device: the batches are small."""
  monkeypatch.setattr(mesh_lib, "_devices", lambda: jax.devices()[:1])


def _digests(folder):
  path = folder / workdir.CHECKPOINTS / "4/_CHECKPOINT_METADATA"
  metadata = json.loads(path.read_text())["custom_metadata"]
  return {name: metadata[name] for name in ("params", "optimizer")}


@pytest.mark.long
def test_a_resumed_run_has_the_same_bits(tmp_path):
  """4 steps; and 2, then the other 2. The loss falls, boxes are written."""
  path = fixture.write(tmp_path / "set", "table")
  whole, halves = tmp_path / "whole", tmp_path / "halves"
  assert run.run(_config(path), whole) == 0
  for total_steps in (2, 4):
    config = _config(path, total_steps=total_steps)
    assert run.run(config, halves) == 0
  assert runs.train_lines(whole) == runs.train_lines(halves)
  assert _digests(whole) == _digests(halves)
  results = workdir.read_results(whole)
  assert results == workdir.read_results(halves)
  _check_results(whole, results)


@pytest.mark.slow
def test_a_run_goes_on_over_pictures_that_cannot_be_used(tmp_path):
  """One epoch of COCO's layout: each fault is met once, and named."""
  path = fixture.write(tmp_path / "set", "coco")
  for split, annotations in (("train", _BROKEN), ("test", _BROKEN[:1])):
    _break(path, split, annotations)
  (path / "train/011.png").unlink()
  fields = {"layout": "coco", "classes": fixture.NAMES}
  config = _config(
    *(path,),
    total_steps=3,
    detection=fields,
    data={"max_bad_fraction": 1.0},
    evaluate={"every_steps": 0},
    checkpoint={"every_steps": 3},
  )
  folder = tmp_path / "run"
  assert run.run(config, folder) == 0
  faults = {
    line["key"]: (line["kind"], line["message"])
    for line in jsonl.read(folder / "data_errors.jsonl")
    if "key" in line
  }
  broken = [f"train/{i:03d}.png" for i in range(len(_BROKEN))]
  assert faults.keys() == {*broken, "train/011.png"}
  assert faults["train/011.png"][0] == "file_missing"
  for name, (_, message) in zip(broken, _BROKEN, strict=True):
    assert faults[name][0] == "box_broken"
    assert message in faults[name][1]
  results = workdir.read_results(folder)
  test_results_schema.validate(results)
  assert results["test"]["num_images"] == 3
  assert results["test"]["num_left_out"] == 1


# COCO's boxes (left, top, width, height), and their faults' messages.
_BROKEN = (
  ((90, 0, 9, 9), "must be in the picture of 80 x 60 pixels"),
  ((9, 9, 0, 20), "must have some area"),
  ((9, 9, -4, 20), "must have some area"),
  ((float("nan"), 0, 9, 9), "must have finite numbers"),
)


def _break(path, split, annotations):
  """Give the first pictures of a split a box more, each its own."""
  file = path / "annotations" / f"instances_{split}.json"
  content = json.loads(file.read_text())
  for image, (box, _) in zip(content["images"], annotations, strict=False):
    content["annotations"].append(
      {"id": 900 + image["id"], "image_id": image["id"], "category_id": 90}
      | {"bbox": box, "iscrowd": 0}
    )
  file.write_text(json.dumps(content))


def _check_results(folder, results):
  test_results_schema.validate(results)
  assert [*results] == ["test"]
  record = results["test"]
  assert record["num_images"] == 4
  assert record["num_left_out"] == 0
  lines = jsonl.read(folder / evaluation.DETECTIONS)
  assert [line["image"] for line in lines] == [
    f"test/{i:03d}.png" for i in range(4)
  ]
  config = workdir.read_config(folder)
  assert config is not None
  with pytest.raises(workdir.WorkdirError, match="one of --task=detect"):
    workdir.check_encoder(folder, config)


def test_runs_that_cannot_begin_say_why(tmp_path):
  config = _config(tmp_path / "none", init_text_from="x", text_lengths=(4,))
  with pytest.raises(ValueError, match="3 problems") as error:
    run.check(config, tmp_path)
  for field in ("detection.path", "init_text_from", "text_lengths"):
    assert field in str(error.value)
  off = _config(tmp_path, detection={"layout": ""})
  with pytest.raises(ValueError, match='"coco" or "table" for --task=detect'):
    run.check(off, tmp_path)
