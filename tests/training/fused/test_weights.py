"""A fused run begins with a CNN, towers, a released model or another run."""

import functools

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from models.pretrained import mapping
from models.pretrained.fused import clipbert_links
from runtime import mesh as mesh_lib
from runtime import sections
from tests import tiny_fused
from tests.inference import fresh_run
from tests.models.fusion import tiny_clipbert
from tests.models.pretrained.families import mirror
from training import config as config_lib
from training import objectives
from training.fused import weights

_MESH = mesh_lib.MeshConfig(1, 1, 1)


def _config(folder, task, **fields):
  values = tiny_fused.get_config(f"{task},{folder}")
  values.update_from_flattened_dict(fields)
  return config_lib.checked(values.to_dict())


def _random(config):
  """Return random variables of a config's model, by path."""
  shapes = jax.eval_shape(
    objectives.make(config).init_params, jax.random.key(0)
  )
  fill = functools.partial(tiny_clipbert.leaf, 0.5)
  made = jax.tree.map_with_path(fill, shapes)
  return {path: np.array(x) for path, x in sections.flat(made, "/").items()}


def _read(config):
  mesh = mesh_lib.make_mesh(_MESH, jax.devices()[:1])
  weights.check_early(config)
  made = weights.read(config, objectives.make(config), mesh)
  return sections.flat(made, "/")


def _assert_read(got, expected, prefixes=("",)):
  expected = {p: x for p, x in expected.items() if p.startswith(prefixes)}
  assert got.keys() == expected.keys()
  for path, x in expected.items():
    np.testing.assert_array_equal(np.asarray(got[path]), x, path)


def _released(config, params, path, *, pretrains):
  """Write a state dict with the names of ClipBERT's released code."""
  links = (
    *clipbert_links.detectron2_resnet(config.fusion.cnn),
    *clipbert_links.transformer(config.model.text, pretrains=pretrains),
  )
  safetensors.save_file(mapping.save(links, params), path)


def test_a_resnet_of_torchvision(tmp_path):
  path = tmp_path / "resnet.safetensors"
  fields = {"init_image_from": str(path), "fusion.cnn.strides_in": "conv2"}
  config = _config(tmp_path, "retrieval", **fields)
  params = _random(config)
  links = clipbert_links.torchvision_resnet(config.fusion.cnn)
  cnn = {p: x for p, x in params.items() if p.startswith("cnn/")}
  tensors = mapping.save(links, cnn) | {"fc.bias": np.zeros(2, np.float32)}
  safetensors.save_file(tensors, path)
  _assert_read(_read(config), params, ("cnn/",))
  other = _config(
    tmp_path, "retrieval", **fields | {"fusion.cnn.strides_in": "conv1"}
  )
  with pytest.raises(ValueError, match="strides_in must be 'conv2'"):
    _read(other)


def test_a_released_model_of_another_task(tmp_path, capsys):
  """The heads of pre-training are not those of retrieval."""
  pretraining = _config(tmp_path, "pretraining", **{"data.video.clips": 0})
  params = _random(pretraining)
  path = tmp_path / "clipbert.safetensors"
  _released(pretraining, params, path, pretrains=True)
  config = _config(tmp_path, "retrieval", init_from=str(path))
  _assert_read(_read(config), params, ("cnn/", "txt/", "visual/"))
  assert "new initial values of answers" in capsys.readouterr().err


def test_a_released_model_of_the_same_task(tmp_path):
  path = tmp_path / "clipbert.safetensors"
  config = _config(tmp_path, "retrieval", init_from=str(path))
  params = _random(config)
  _released(config, params, path, pretrains=False)
  _assert_read(_read(config), params)
  shorter = _config(
    tmp_path,
    "retrieval",
    **{"init_from": str(path), "fusion.cnn.depths": (1, 1, 1, 2)},
  )
  with pytest.raises(ValueError, match=r"--config\.init_from=.* missing"):
    _read(shorter)


def test_a_run_of_another_task(tmp_path, capsys):
  """Texts of the other run are longer: the first positions are taken."""
  fields = {"data.num_tokens": 30, "model.text.num_tokens": 30}
  first = _config(tmp_path, "retrieval", **fields)
  params = _random(first)
  fresh_run.write_params(tmp_path / "first", first, params)
  config = _config(tmp_path, "answers", init_from=str(tmp_path / "first"))
  params["txt/position"] = params["txt/position"][:24]
  _assert_read(_read(config), params, ("cnn/", "txt/", "visual/"))
  assert "new initial values of answers" in capsys.readouterr().err
  meter = tiny_fused.meter(tiny_fused.get_config(f"pretraining,{tmp_path}"))
  meter.data.video.clips = 0
  meter.init_from = str(tmp_path / "first")
  with pytest.raises(ValueError, match="fusion.kind='meter'; got .*'clipbert'"):
    weights.check_early(config_lib.checked(meter.to_dict()))


def test_a_bert_and_a_tower_of_a_run(tmp_path):
  """METER takes towers without what pools and projects them."""
  values = tiny_fused.meter(tiny_fused.get_config(f"pretraining,{tmp_path}"))
  values.data.video.clips = 0
  config = config_lib.checked(values.to_dict())
  towers = mirror.random_params(config.model)
  fresh_run.write_params(tmp_path / "run", config, towers)
  wanted = _random(config)
  values.init_image_from = values.init_text_from = str(tmp_path / "run")
  # The folder is one of a dual encoder but for its config.
  dual = values.copy_and_resolve_references()
  dual.fusion.kind = dual.init_image_from = dual.init_text_from = ""
  fresh_run.workdir.write_config(
    tmp_path / "run", config_lib.checked(dual.to_dict())
  )
  got = _read(config_lib.checked(values.to_dict()))
  assert got.keys() == {p for p in towers if p in wanted and "/" in p}
  for path, x in got.items():
    np.testing.assert_array_equal(np.asarray(x), towers[path], path)
