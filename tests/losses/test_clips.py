"""Aggregation of clips: goldens, identities; masked words; soft answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import answers, clips, masked_words

LOGITS = jnp.array([[[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]]])
LABEL = jnp.array([0])


def test_goldens():
  """Values computed in float64 by the equations."""
  aggregate = clips.aggregate(LOGITS, "lse")
  np.testing.assert_allclose(
    aggregate[0], [2.12692801, 1.31326169, 1.12692801], rtol=1e-6
  )
  np.testing.assert_allclose(
    jax.nn.softmax(aggregate[0]), [0.55214773, 0.24472847, 0.2031238], rtol=1e-6
  )
  for how, golden in (("lse", 0.5939396409), ("mean", 0.6802696706)):
    loss = clips.cross_entropy(LOGITS, LABEL, how)
    assert float(loss[0]) == pytest.approx(golden, rel=1e-6)


def test_largest_logits():
  assert clips.aggregate(LOGITS, "max").tolist() == [[2.0, 1.0, 1.0]]


def test_loss_of_lse_is_the_papers():
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 3, (5, 4, 6))
  label = rng.integers(0, 6, 5)
  total = np.log(np.exp(logits).sum((1, 2)))
  right = np.log(np.exp(logits).sum(1))[np.arange(5), label]
  loss = clips.cross_entropy(
    jnp.asarray(logits, jnp.float32), jnp.asarray(label), "lse"
  )
  np.testing.assert_allclose(loss, total - right, rtol=1e-5)


@pytest.mark.parametrize("how", clips.AGGREGATES)
def test_one_clip_and_any_order(how: str):
  rng = np.random.default_rng(1)
  logits = jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32)
  one = clips.aggregate(logits[:, :1], how)
  np.testing.assert_allclose(one, logits[:, 0], rtol=1e-6)
  np.testing.assert_allclose(
    clips.aggregate(logits[:, rng.permutation(5)], how),
    clips.aggregate(logits, how),
    rtol=1e-6,
  )


def test_lse_has_no_overflow():
  loss = clips.cross_entropy(200 * LOGITS, LABEL, "lse")
  assert np.isfinite(loss).all()


def test_masked_words_are_drawn_by_the_papers_shares():
  tokens = np.full((64, 200), 7, np.int32)
  tokens[:, 0], tokens[:, 150:] = 1, 0
  keys = jax.random.split(jax.random.key(0), 64)
  changed, labels = masked_words.draw(
    jnp.asarray(tokens),
    keys,
    probability=0.15,
    mask_id=3,
    kept_ids=(0, 1),
    vocab_size=1000,
  )
  is_chosen = np.asarray(labels) != masked_words.IGNORED
  assert not is_chosen[:, 0].any()
  assert not is_chosen[:, 150:].any()
  np.testing.assert_array_equal(changed[~is_chosen], tokens[~is_chosen])
  assert (np.asarray(labels)[is_chosen] == 7).all()
  words = np.asarray(changed)[is_chosen]
  # A share of 0.15 of 9,536 words is 1,430: five standard deviations are 174,
  # and those of the shares among them 0.053 and 0.04.
  assert abs(len(words) - 0.15 * 64 * 149) < 175
  assert abs((words == 3).mean() - 0.8) < 0.055
  assert abs((words == 7).mean() - 0.1) < 0.041
  assert len(np.unique(words)) > 100


def test_masked_words_of_a_row_are_its_keys():
  tokens = jnp.arange(40).reshape(2, 20)
  keys = jax.random.split(jax.random.key(0), 2)
  fields = {"probability": 0.5, "mask_id": 99, "kept_ids": (0,)}
  draw = lambda *args: masked_words.draw(*args, **fields, vocab_size=40)  # noqa: E731
  forth, back = draw(tokens, keys), draw(tokens[::-1], keys[::-1])
  for x, y in zip(forth, back, strict=True):
    np.testing.assert_array_equal(x, y[::-1])


def test_masked_words_count_alike():
  """A row with three predicted words weighs three times one with one."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(2, 4, 5)).astype(np.float32)
  labels = np.array([[2, -1, 0, 4], [-1, -1, -1, 3]])
  loss, count = masked_words.cross_entropy(
    jnp.asarray(logits), jnp.asarray(labels)
  )
  assert count.tolist() == [3, 1]
  each = np.log(np.exp(logits).sum(-1))
  picked = [(b, i) for b, i in np.ndindex(2, 4) if labels[b, i] >= 0]
  each = [each[b, i] - logits[b, i, labels[b, i]] for b, i in picked]
  np.testing.assert_allclose(loss, [sum(each[:3]), each[3]], rtol=1e-5)


def test_soft_answers():
  label, score = jnp.array([[3, 1, -1]]), jnp.array([[1.0, 2 / 3, 1.0]])
  target = answers.soft_targets(label, score, 5)
  np.testing.assert_allclose(target, [[0, 2 / 3, 0, 1, 0]], rtol=1e-6)
  logits = np.array([[0.5, -1.0, 2.0, 0.0, 3.0]])
  p = 1 / (1 + np.exp(-logits))
  expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).sum(1)
  np.testing.assert_allclose(
    answers.soft_binary(jnp.asarray(logits), target), expected, rtol=1e-5
  )
