"""Dense probes of a model: files that are written, sheets, and flags."""

import doctest
import json

import jax
import numpy as np
import pytest
from PIL import Image

from evaluators.dense import layouts, probe
from inference import model as model_lib
from inference.evaluation import dense, dense_sheet
from input_pipeline.images import image_protocols
from runtime import mesh as mesh_lib
from tests import tiny_dense
from tests.evaluators import test_results_schema
from tests.models import towers

_QUICK = {"num_steps": 2, "learning_rates": (0.01,), "num_bins": 4}


def _model(**image):
  config = towers.make_config({"depth": 1, **image})
  protocol = image_protocols.PROTOCOLS["clip"].at(16)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
  return model_lib.Model(
    *("here", model_lib.RUN, config),
    jax.device_put(towers.make_params(config), mesh_lib.replicated(mesh)),
    mesh=mesh,
    make_image_protocol=lambda: protocol,
    make_tokenizer=lambda: pytest.fail("no text is read"),
    loss="sigmoid",
    step=7,
  )


@pytest.mark.parametrize("module", [dense, dense_sheet])
def test_examples(module):
  results = doctest.testmod(module)
  assert results.attempted
  assert not results.failed


@pytest.mark.slow
def test_a_folder_of_results(tmp_path, monkeypatch, capsys):
  specs = tiny_dense.write(tmp_path / "data", num_train=4, num_test=3)
  monkeypatch.setattr(model_lib, "load", lambda path: _model())
  out = tmp_path / "out"
  dense.run("here", specs, out=str(out), changes=_QUICK, num_threads=1)
  results = json.loads((out / "results.json").read_text())
  test_results_schema.validate(results)
  assert [*results] == ["squares", "depths", "model"]
  protocol = results["squares"]["protocol"]
  assert (
    protocol["tokens"] == "patch tokens of the last layer after the last norm"
  )
  assert protocol["image_protocol"]["resize"] == "squash"
  assert protocol["head"]["num_steps"] == 2
  # The model's own protocol crops.
  assert results["model"]["image_protocol"]["resize"] == "shortest"
  assert results["model"]["step"] == 7
  printed = capsys.readouterr()
  assert (
    "squares: segmentation, 4 images to train on, 3 to judge" in printed.err
  )
  assert "pixel accuracy" in printed.out
  assert "rmse" in printed.out
  for name in ("squares", "depths"):
    with Image.open(out / "sheets" / f"{name}.png") as sheet:
      assert sheet.width > 1000


def test_a_sheet_shows_image_truth_and_prediction(tmp_path):
  squares, depths = tiny_dense.write(tmp_path, num_train=2, num_test=1)
  for spec, part in ((squares, 1), (depths, 2)):
    opened = layouts.open_set(spec)
    truth = tiny_dense.arrays(500)[part].astype(np.float32)
    truth = (
      np.where(truth == 255, -1, truth).astype(int) if part == 1 else truth
    )
    shown = [probe.Prediction(opened.test[0], truth, np.abs(truth))]
    name = "mIoU" if part == 1 else "rmse"
    record = {"kind": opened.kind, "num_images": 1, name: 0.5}
    record |= {"intervals": {name: [0.4, 0.6]}, "chance": {name: 0.1}}
    sheet = np.asarray(dense_sheet.draw(opened, record, shown))
    # Below the titles, true and predicted maps have equal pixels, but for the
    # first row, which has no class.
    row = sheet[sheet.shape[0] - 36 - 30 - 60]
    step = 192 + 12
    true, found = (row[36 + step * i : 36 + step * i + 192] for i in (1, 2))
    np.testing.assert_array_equal(true, found)
    assert len(np.unique(true, axis=0)) > 1


def test_models_and_folders_are_checked(tmp_path, monkeypatch):
  specs = tiny_dense.write(tmp_path / "data", num_train=2, num_test=1)
  with pytest.raises(
    ValueError, match="--out is missing: .* not the folder of"
  ):
    dense.run("here", specs, out="")
  out = str(tmp_path / "out")
  with pytest.raises(ValueError, match="must have a name of its own"):
    dense.run("here", [specs[0], specs[0]], out=out)
  with pytest.raises(
    ValueError, match="(?s)2 problems:.*LAYOUT:PATH.*num_steps"
  ):
    dense.run("here", ["voc", specs[0]], out=out, changes={"num_steps": 0})
  monkeypatch.setattr(
    model_lib, "load", lambda path: _model(pool="queries", num_queries=2)
  )
  with pytest.raises(ValueError, match="a tower that pools with queries"):
    dense.run("here", specs[:1], out=out)


@pytest.mark.parametrize(
  ("word", "message"),
  [
    ("steps=3", "the field must be one of num_steps, .*; got 'steps'"),
    ("num_steps=many", "num_steps must be int, as num_steps=4000; got 'many'"),
    ("batch_norm=1", "batch_norm must be bool, as batch_norm=true; got '1'"),
    (
      "learning_rates=1e-3/x",
      "must be numbers, as learning_rates=0.0003/0.001",
    ),
  ],
)
def test_fields_of_the_flag_are_checked(word, message):
  with pytest.raises(ValueError, match=message):
    dense.changes([word])
  assert dense.changes(["batch_norm=False"]) == {"batch_norm": False}
