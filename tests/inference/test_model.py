"""Opening a run or a published model: one Model, refusals in one line."""

import dataclasses

import jax
import numpy as np
import pytest

from inference import model as model_lib
from runtime import failures, sections
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from training.run import workdir


@pytest.mark.slow
def test_a_run(tmp_path):
  config = runs.make_config()
  params = fresh_run.write(tmp_path / "run", config, step=5, bias=-2.5)
  read_config, model = model_lib.load_run(tmp_path / "run")
  assert read_config == config
  assert (model.family, model.step) == (model_lib.RUN, 5)
  assert model.config == config.model
  assert model.folder == tmp_path / "run"
  assert model.bias == -2.5
  np.testing.assert_allclose(model.scale, np.exp(params["log_scale"]))
  for path, array in sections.flat(model.params, "/").items():
    assert np.asarray(array).tobytes() == params[path].tobytes(), path
    assert array.sharding.is_fully_replicated


def test_a_run_with_another_config(tmp_path):
  config = runs.make_config()
  fresh_run.write(tmp_path / "run", config)
  evaluate = dataclasses.replace(config.evaluate, batch_size=24)
  other = dataclasses.replace(config, evaluate=evaluate)
  assert model_lib.load_run(tmp_path / "run", other)[0] == other
  wider = dataclasses.replace(config.model, embed_dim=24)
  with pytest.raises(failures.RunError, match=r"model\.embed_dim"):
    model_lib.load_run(
      tmp_path / "run", dataclasses.replace(config, model=wider)
    )


def test_a_folder_without_a_run_or_a_checkpoint(tmp_path):
  with pytest.raises(workdir.WorkdirError, match=r"holds no run \(no config"):
    model_lib.load_run(tmp_path)
  workdir.write_config(tmp_path, runs.make_config())
  with pytest.raises(workdir.WorkdirError, match="has no checkpoint yet"):
    model_lib.load_run(tmp_path)


def test_a_batch_is_raised_to_a_multiple_of_the_devices(tmp_path):
  path, files = goldens.write_published("hf_siglip", tmp_path)
  model = model_lib.load(path)
  assert model.folder == tmp_path
  embedder = model.make_embedder(3)
  assert embedder.batch_size == -(-3 // jax.device_count()) * jax.device_count()
  tokens = np.zeros((2, model.config.text.num_tokens), np.int32)
  ztxt_NE = embedder.texts(model.params, tokens)
  assert ztxt_NE.shape == (2, model.config.embed_dim)
  np.testing.assert_allclose(model.scale, np.exp(files.tensors["logit_scale"]))
