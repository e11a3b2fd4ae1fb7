"""ClipBERT's objectives: losses of tasks, negatives, masks, micro-batches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import clipbert as recipes
from losses import answers, clips
from models import batch_norm
from runtime import mesh as mesh_lib
from tests.models.fusion import tiny_clipbert
from training import config as config_lib
from training import objectives
from training.objectives import clipbert, fused, gradients

RNG = np.random.default_rng(0)
SIZE = 64
TOKENS = RNG.integers(2, 250, (4, 8)).astype(np.int32)


def _config(name: str, **fields) -> config_lib.Config:
  values = recipes.get_config(name).to_dict()
  values["batch_size"] = 4
  values["data"] |= {"image_size": SIZE, "num_tokens": 8}
  values["model"]["image"]["image_size"] = SIZE
  values["model"]["text"] |= {"num_tokens": 8, "width": 16, "depth": 1}
  values["model"]["text"] |= {"num_heads": 2, "mlp_width": 32}
  values["model"] |= {"embed_dim": 16}
  values["mesh"] = {"data": 1, "fsdp": 1, "tensor": 1}
  cnn = values["fusion"]["cnn"] | {"width": 2, "frozen_norm": True}
  values["fusion"] |= {"cnn": cnn} | fields
  return config_lib.checked(values)


def _batch(config: config_lib.Config, **arrays) -> fused.Batch:
  shape = fused.shapes(config).images.shape
  images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
  keys = jax.random.split(jax.random.key(0), 4)
  arrays = {"images": images, "tokens": TOKENS} | arrays
  batch = fused.batch_of(jax.tree.map(jnp.asarray, arrays))
  return dataclasses.replace(batch, keys=keys)


def _prepared(config: config_lib.Config, **arrays) -> fused.Batch:
  return jax.jit(functools.partial(fused.prepare, config))(
    _batch(config, **arrays)
  )


def _params(objective) -> dict:
  shapes = jax.eval_shape(objective.init_params, jax.random.key(0))
  leaf = functools.partial(tiny_clipbert.leaf, 0.0)
  return jax.tree.map_with_path(leaf, shapes)


def test_shapes_of_batches():
  config = _config("mini_qa", task="choices", num_choices=3)
  shapes = fused.shapes(config)
  assert shapes.images.shape == (4, 2, 2, SIZE, SIZE, 3)
  assert shapes.tokens.shape == (4, 3, 8)
  assert shapes.labels.shape == (4,)
  image = jnp.zeros((4, SIZE, SIZE, 3), jnp.uint8)
  batch = fused.batch_of({"images": image, "tokens": TOKENS})
  assert batch.images.shape == (4, 1, 1, SIZE, SIZE, 3)


def test_negatives_are_texts_of_other_videos():
  config = _config("mini_retrieval", num_negatives=2)
  groups = np.array([7, 7, 8, 9], np.int32)
  batch = _prepared(config, groups=groups)
  assert batch.tokens.shape == (4, 3, 8)
  np.testing.assert_array_equal(batch.tokens[:, 0], TOKENS)
  assert batch.matches.tolist() == [[1, 0, 0]] * 4
  assert np.all(batch.weights == 1)
  for row in range(4):
    drawn = [
      int(np.flatnonzero((text == TOKENS).all(1))[0])
      for text in batch.tokens[row, 1:]
    ]
    assert len(set(drawn)) == 2
    assert all(groups[i] != groups[row] for i in drawn)


def test_a_row_without_other_videos_has_no_negative():
  config = _config("mini_retrieval")
  batch = _prepared(config, groups=np.array([1, 1, 1, 1], np.int32))
  assert batch.weights.tolist() == [[1, 0]] * 4


def test_retrieval_loss_and_its_negatives():
  """Without negatives the loss is another: that of true pairs alone."""
  logits = jnp.asarray(RNG.normal(size=(4, 2, 3, 2)), jnp.float32)
  batch = _prepared(_config("mini_retrieval"))
  got = fused.LOSSES["retrieval"](logits, batch, "lse")
  each = [
    clips.cross_entropy(logits[:, q], jnp.full(4, 1 - q), "lse")
    for q in range(2)
  ]
  assert float(got) == pytest.approx(float(np.mean(each)), rel=1e-5)
  alone = _prepared(_config("mini_retrieval", num_negatives=0))
  got = fused.LOSSES["retrieval"](logits[:, :1], alone, "lse")
  assert float(got) == pytest.approx(float(np.mean(each[0])), rel=1e-5)
  assert abs(np.mean(each) - np.mean(each[0])) > 1e-3


def test_pretraining_batch():
  config = _config("mini_pretraining", negative_share=0.5, mask_share=0.5)
  batch = _prepared(config)
  is_own = np.asarray(batch.matches[:, 0], bool)
  is_asked = np.asarray(batch.words) >= 0
  assert is_asked[is_own].any()
  # Another image's words say nothing of this one.
  assert not is_asked[~is_own].any()
  texts = np.where(is_asked, batch.words, batch.tokens)
  np.testing.assert_array_equal(texts[is_own], TOKENS[is_own])
  masked = batch.tokens == config.fusion.mask_id
  assert np.asarray(masked)[~is_own].any()
  for row in np.flatnonzero(~is_own):
    is_kept = ~np.asarray(masked[row]) & (np.asarray(batch.tokens[row]) < 250)
    same = (np.asarray(batch.tokens[row]) == TOKENS) | ~is_kept
    assert not same[row].all()
  # Without other texts nothing is to be matched.
  without = _prepared(_config("mini_pretraining", negative_share=0.0))
  assert without.matches.tolist() == [[1]] * 4


def test_pretraining_loss_weighs_words_alike():
  outputs = fused.Pretraining(
    jnp.array([6.0, 1.0]), jnp.array([3.0, 1.0]), jnp.array([[0.0, 2.0]] * 2)
  )
  batch = fused.Batch(None, None, matches=jnp.array([[1], [0]]))
  got = fused.LOSSES["pretraining"](outputs, batch, "lse")
  matching = np.log(1 + np.exp(-2)) + np.log(1 + np.exp(2))
  assert float(got) == pytest.approx(7 / 4 + matching / 2, rel=1e-5)


def test_answers_outside_of_the_vocabulary_teach_nothing():
  logits = jnp.asarray(RNG.normal(size=(3, 1, 2, 5)), jnp.float32)
  labels = jnp.array([4, -1, 0])
  batch = fused.Batch(None, None, labels=labels)
  got, grad = jax.value_and_grad(
    lambda x: fused.LOSSES["answers"](x, batch, "mean")
  )(logits)
  each = optax.softmax_cross_entropy_with_integer_labels(
    logits[:, 0].mean(1), jnp.array([4, 0, 0])
  )
  assert float(got) == pytest.approx(float(each[0] + each[2]) / 2, rel=1e-5)
  assert not np.any(grad[1])


def test_choices_are_compared_within_a_clip():
  logits = jnp.asarray(RNG.normal(size=(2, 4, 3, 1)), jnp.float32)
  batch = fused.Batch(None, None, labels=jnp.array([3, 0]))
  got = fused.LOSSES["choices"](logits, batch, "lse")
  x = np.exp(np.asarray(logits[..., 0], np.float64))
  right = x[[0, 1], [3, 0]].sum(1)
  expected = np.log(x.sum((1, 2))) - np.log(right)
  assert float(got) == pytest.approx(expected.mean(), rel=1e-5)


def test_vqa_sums_answers_of_soft_scores():
  logits = jnp.asarray(RNG.normal(size=(2, 1, 1, 6)), jnp.float32)
  labels, scores = jnp.array([[1, 4], [2, -1]]), jnp.array([[1, 0.5], [1, 0.0]])
  batch = fused.Batch(None, None, labels=labels, scores=scores)
  target = answers.soft_targets(labels, scores, 6)
  expected = optax.sigmoid_binary_cross_entropy(logits[:, 0, 0], target)
  got = fused.LOSSES["vqa"](logits, batch, "lse")
  assert float(got) == pytest.approx(float(expected.sum(1).mean()), rel=1e-5)


@pytest.mark.parametrize(
  "name",
  ["mini_pretraining", pytest.param("mini_retrieval", marks=pytest.mark.long)],
)
def test_micro_batches_are_exact(name: str):
  """The gradient of a batch, with its negatives, equals that of its parts."""
  one = _config(name)
  two = dataclasses.replace(one, num_microbatches=2)
  values = []
  with jax.set_mesh(mesh_lib.make_mesh(one.mesh, jax.devices()[:1])):
    objective = objectives.make(one)
    params, stats = batch_norm.split(_params(objective))
    batch = fused.prepare(one, _batch(one))
    for config in (one, two):
      gradient = jax.jit(gradients.make(config, objective))
      (loss, _), grads = gradient(params, stats, batch)
      values.append((loss, grads))
  (loss, grads), (parts_loss, parts) = values
  assert float(parts_loss) == pytest.approx(float(loss), rel=1e-5)
  for (path, x), y in zip(
    jax.tree.leaves_with_path(grads), jax.tree.leaves(parts), strict=True
  ):
    scale = max(float(np.abs(x).max()), 1e-3)
    np.testing.assert_allclose(
      y, x, rtol=0, atol=2e-4 * scale, err_msg=jax.tree_util.keystr(path)
    )
  assert np.any(grads["cnn"]["stem"]["conv"]["kernel"])


def test_pairs_score_as_answers_do():
  """Scores of all pairs equal the log-odds of each text, in any clip order."""
  config = _config("mini_retrieval")
  tokens = np.broadcast_to(TOKENS[:3], (4, 3, 8))
  batch = dataclasses.replace(_batch(config, tokens=tokens), keys=None)
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
    objective = objectives.make(config)
    variables = _params(objective)
    logits = jax.jit(fused.answer_fn(config, objective))(variables, batch)
    encode, score = map(jax.jit, clipbert.pair_fns(config))
    cells = encode(variables, batch.images)
    got = score(variables, cells, jnp.asarray(TOKENS[:3]))
    turned = score(variables, cells[:, ::-1], jnp.asarray(TOKENS[:3]))
  assert logits.shape == (4, 3, 2)
  np.testing.assert_allclose(got, logits[..., 1] - logits[..., 0], atol=1e-5)
  np.testing.assert_allclose(turned, got, atol=1e-5)
  assert np.ptp(got) > 1e-3
