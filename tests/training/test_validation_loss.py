"""The loss of a set is training's, on its images with their first texts."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import losses
from evaluators import embedding, suite
from runtime import mesh as mesh_lib
from tests import tiny
from training import config as config_lib
from training import validation_loss


def _rows(rng, number):
  z = rng.normal(size=(number, 8)).astype(np.float32)
  return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "unicl"])
def test_the_mean_over_whole_batches(name):
  rng = np.random.default_rng(0)
  config = tiny.get_config()
  config.loss.name = name
  config.batch_size = 8
  config = config_lib.checked(config.to_dict())
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:2])
  # One image has no text in the language, and one has two.
  texts = [{"en": (f"text {i % 7}", "another")} for i in range(20)]
  texts[3] = {"de": ("ein Text",)}
  zimg_NE, ztxt_ME = _rows(rng, 20), _rows(rng, 7)
  part = embedding.Examples(
    rows=tuple(range(20)),
    keys=tuple(map(str, range(20))),
    texts=tuple(texts),
    zimg_NE=zimg_NE,
  )
  row = {f"text {i}": i for i in range(7)}
  embeddings = suite.Embeddings({"source": part}, row, ztxt_ME)
  data = types.SimpleNamespace(
    languages=("en",),
    retrieval_sets={"mine": types.SimpleNamespace(key="source")},
  )
  params = {"log_scale": jnp.log(5.0), "bias": jnp.float32(-1.0)}
  found = validation_loss.make(config, mesh)(data, embeddings, params)

  kept = [i for i in range(20) if i != 3]
  values = []
  for start in (0, 8):  # the last three of 19 are left out
    some = kept[start : start + 8]
    labels = np.array([i % 7 for i in some])
    values.append(
      losses.LOSSES[name].reference(
        zimg_NE[some],
        ztxt_ME[labels],
        scale=5.0,
        bias=-1.0,
        labels_B=labels,
        label_smoothing=0.0,
      )
    )
  assert found == {"mine": pytest.approx(float(np.mean(values)), rel=1e-5)}
