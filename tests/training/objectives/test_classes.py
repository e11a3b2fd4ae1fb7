"""Objective of classes: cross-entropy of a linear head on the image tower."""

import jax
import numpy as np
import pytest
from sklearn import metrics

from input_pipeline import captions, faults
from runtime import mesh as mesh_lib
from tests import tiny
from training import config as config_lib
from training import train_step
from training.objectives import classes, pairs

CLASSES = ("cat", "dog", "owl")
_RNG = np.random.default_rng(0)
LABELS = np.array([2, 0, 1, 1], np.int32)


def _values(**fields):
  config = tiny.get_config()
  config.batch_size = 4
  config.loss.name = "classes"
  config.model.head.classes = CLASSES
  config.optimizer.freeze = ((r"txt/.*|log_scale|bias", True), (r".*", False))
  config.evaluate.sets = {}
  config.update_from_flattened_dict(fields)
  return config.to_dict()


def _batch():
  images = _RNG.integers(0, 256, (4, 16, 16, 3), np.uint8)
  return pairs.Batch(images, np.zeros((4, 8), np.int32), LABELS)


def test_loss_and_gradient_of_the_head_are_those_of_log_loss():
  config = config_lib.checked(_values())
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
    objective = classes.make(config)
    params = jax.jit(objective.init_params)(jax.random.key(0))
    kernel_EA = _RNG.normal(size=(16, 3)).astype(np.float32)
    params["head"] = {"kernel": kernel_EA, "bias": np.float32([0, 1, -1])}
    batch = _batch()
    gradient = jax.jit(lambda x: objective.gradient(objective, x, {}, batch))
    (loss, _), grads = gradient(params)
    embed = jax.jit(lambda x: objective.embed_locked(x, {}, batch))
    zimg_BE = np.asarray(embed(params))
  logits_BA = zimg_BE @ kernel_EA + params["head"]["bias"]
  p_BA = np.exp(logits_BA) / np.exp(logits_BA).sum(axis=1, keepdims=True)
  expected = metrics.log_loss(LABELS, p_BA, labels=range(3))
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  dlogits_BA = (p_BA - np.eye(3)[LABELS]) / len(LABELS)
  head = grads["head"]
  np.testing.assert_allclose(head["kernel"], zimg_BE.T @ dlogits_BA, atol=1e-6)
  np.testing.assert_allclose(head["bias"], dlogits_BA.sum(axis=0), atol=1e-6)
  assert any(np.any(x) for x in jax.tree.leaves(grads["img"]))
  assert not any(np.any(x) for x in jax.tree.leaves(grads["txt"]))


def test_rules_reach_the_head():
  config = config_lib.checked(
    _values(**{"optimizer.layer_decay": 0.5, "num_microbatches": 2})
  )
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  train_step.check(config, mesh)


def test_a_text_tower_that_would_decay_is_refused():
  config = config_lib.checked(
    _values(**{"optimizer.freeze": ((r"txt/.*", True), (r".*", False))})
  )
  with pytest.raises(ValueError, match="optimizer.freeze must hold.*such as"):
    classes.make(config)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"model.head.classes": ()}, r"model.head.classes must name classes with"),
    ({"loss.name": "softmax"}, r"be \(\) with others; got \('cat'"),
    ({"model.head.classes": ("cat", "cat")}, r"at least two names, each once"),
    ({"model.head.prompts": ("a cat",)}, r"head.prompts must each have one"),
    ({"evaluate.loss": True}, r"evaluate.loss must be False with loss.name"),
    ({"loss.label_smoothing": 1.5}, r"loss.label_smoothing must be"),
  ],
)
def test_fields_that_do_not_fit(fields, message):
  with pytest.raises(ValueError, match=message):
    config_lib.checked(_values(**fields))


def test_a_caption_that_is_no_class_is_a_fault():
  assert captions.class_of(" dog ", CLASSES) == 1
  with pytest.raises(faults.ExampleError, match="one of the 3 classes.*'Dog'"):
    captions.class_of("Dog", CLASSES)
