"""Study of LiT: its trials build, and weights of Lite0 fit the image tower."""

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from experiments.lit import choices, study
from experiments.lit import config as config_file
from models.pretrained import mapping
from models.pretrained.families import efficientnet_lite
from models.pretrained.parts import fresh
from runtime import mesh as mesh_lib
from runtime import sections
from training import config as config_lib
from training import objectives, optimizer
from training.run import starting_weights


def _config(changes, arg="test", **fields):
  values = config_file.get_config(arg)
  values.update_from_flattened_dict({**changes, **fields})
  return config_lib.checked(values.to_dict())


def _lite0():
  """Return the model of the weights' file, with its classifier."""
  return fresh.make_model(
    embed_dim=1000,
    image_mean=(127 / 255,) * 3,
    image_std=(128 / 255,) * 3,
    image=efficientnet_lite.make_image(*efficientnet_lite.VARIANTS[0]),
  )


@pytest.mark.parametrize("arm", study.STUDY.arms, ids=lambda arm: arm.name)
def test_an_arm_trains_what_its_letters_say(arm):
  config = _config(arm.changes)
  variables = objectives.variable_shapes(config)
  held = sections.flat(
    optimizer.frozen_params(config.optimizer, variables), "/"
  )
  towers = {
    name: {is_held for path, is_held in held.items() if path.startswith(name)}
    for name in ("img/", "txt/")
  }
  assert towers == {"img/": {"L" in arm.name}, "txt/": {False}}
  assert optimizer.locks_statistics(config.optimizer, variables) == (
    "L" in arm.name
  )
  assert bool(config.init_image_from) == ("uu" not in arm.name)


def test_all_trials_are_of_three_seeds():
  trials = study.get_study()
  assert len(trials) == 3 * len(study.STUDY.arms)
  assert {trial["seed"] for trial in trials} == {0, 1, 2}


def test_choices_are_made_on_another_split_and_seed():
  chosen = choices.get_study()
  assert {trial["seed"] for trial in chosen} == {100}
  for trial in chosen:
    assert [*_config(trial, "val").evaluate.sets] == ["val"]
  assert "val" not in config_file.get_config().evaluate.sets
  with pytest.raises(ValueError, match="must be one of test, val; got 'tests'"):
    config_file.get_config("tests")


def test_the_image_tower_is_the_one_of_the_weights(tmp_path):
  whole = _lite0()
  ours = _config({}).model
  shapes = sections.flat(objectives.variable_shapes(_config({})), "/")
  rng = np.random.default_rng(0)
  arrays = {
    path: rng.standard_normal(x.shape, np.float32)
    for path, x in shapes.items()
    if path.startswith("img/")
  }
  classifier = {
    "img/projection/kernel": np.zeros((1280, 1000), np.float32),
    "img/projection/bias": np.zeros(1000, np.float32),
  }
  tensors = mapping.save(efficientnet_lite.links(whole), arrays | classifier)
  path = tmp_path / "lite0.safetensors"
  safetensors_numpy.save_file(
    {name: np.ascontiguousarray(x) for name, x in tensors.items()}, path
  )
  config = _config({}, init_image_from=str(path))
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  read = sections.flat(starting_weights.read(config, mesh), "/")
  assert read.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(np.asarray(read[name]), array, name)
  # Pixels, padding and activation cannot be told from shapes.
  assert (ours.image_mean, ours.image_std) == (
    whole.image_mean,
    whole.image_std,
  )
  for field in ("stages", "activation", "padding", "norm_epsilon", "squeeze"):
    assert getattr(ours.image, field) == getattr(whole.image, field), field
