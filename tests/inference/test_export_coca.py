"""A CoCa run written with its captioner in open_clip's form, and read again."""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from inference import export
from inference import model as model_lib
from models.pretrained import opening
from models.pretrained.fused import open_clip_coca
from runtime import sections
from tests import tiny_coca
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror
from training import objectives


def write_run(folder, **changes):
  """Write a run of random parameters; return its config and parameters."""
  config = tiny_coca.make_config(**changes)
  rng = np.random.default_rng(0)
  shapes = sections.flat(objectives.variable_shapes(config), "/")
  params = {
    path: np.asarray(rng.normal(0.0, 0.3, x.shape), np.float32)
    for path, x in shapes.items()
  }
  params |= {"log_scale": np.float32(2.5), "bias": np.float32(0.0)}
  fresh_run.write_params(folder, config, params)
  return config, params


@pytest.mark.slow
def test_a_run_comes_back_to_the_bit(tmp_path, capsys):
  run, out = tmp_path / "run", tmp_path / "out"
  config, params = write_run(run)
  assert export.run(run, "open_clip", str(out)) == 0
  said = capsys.readouterr().out
  assert "tensors of open_clip's CoCa in" in said
  assert "left out" not in said
  coca = open_clip_coca.read(opening.open_model(str(out)))
  assert coca.captioner == config.captioning.captioner
  got = sections.flat(coca.params | {"captioner": coca.captioner_params}, "/")
  assert got.keys() == params.keys()
  for path, x in params.items():
    np.testing.assert_array_equal(got[path], x, path)
  content = json.loads((out / "open_clip_config.json").read_text())
  assert content["model_cfg"]["multimodal_cfg"]["layers"] == 1
  assert content["preprocess_cfg"]["size"] == 16
  # Elsewhere it is its towers.
  model = model_lib.load(out)
  assert {*model.params} == {"img", "txt", "log_scale", "bias"}


@pytest.mark.slow
def test_a_captioner_that_open_clip_lacks(tmp_path):
  run = tmp_path / "run"
  write_run(run, **{"captioning.captioner.mlp_width": 48})
  with pytest.raises(ValueError, match="has no CoCa with this") as raised:
    export.run(run, "open_clip", str(tmp_path / "out"))
  assert "captioner.mlp_width: expected 64; got 48" in str(raised.value)
  assert not (tmp_path / "out").exists()


def test_a_published_coca_keeps_its_tensors(tmp_path, capsys):
  """Each tensor to the bit; without --format=open_clip, towers alone."""
  found, _ = goldens.read("tests/models/decoding/golden/coca.npz")
  folder, out = tmp_path / "coca", tmp_path / "out"
  folder.mkdir()
  mirror.write_source(folder, found)
  export.run(folder, "open_clip", str(out))
  written = safetensors_numpy.load_file(out / "open_clip_model.safetensors")
  masks = [x for x in found.tensors if x.endswith("attn_mask")]
  assert {*written} == {*found.tensors} - {*masks}
  for name, x in written.items():
    assert x.tobytes() == np.ascontiguousarray(found.tensors[name]).tobytes()
  capsys.readouterr()
  with pytest.raises(ValueError, match="--format=hf has no family"):
    export.run(folder, "hf", str(tmp_path / "hf"))
