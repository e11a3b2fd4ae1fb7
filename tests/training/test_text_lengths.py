"""Captions cut to what the longest one needs: nothing changes but the work."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dual_encoder
from tests import runs, steps
from training import text_lengths

_CAUSAL = {
  "model.text.causal": True,
  "model.text.pool": "eot",
  "model.text.mask_padding": False,
}


@pytest.mark.parametrize(
  ("longest", "cut_to"), [(1, 2), (2, 2), (3, 5), (5, 5), (6, 8), (8, 8)]
)
def test_takes_the_shortest_length_that_fits(longest, cut_to):
  lengths = np.asarray([1, longest, 1])
  tokens = np.where(np.arange(8) < lengths[:, None], 7, 0).astype(np.int32)
  text = runs.make_config({}).model.text
  seen = []

  def fn(tokens_BL):
    seen.append(tokens_BL.shape[1])
    return jnp.full((), tokens_BL.shape[1]), jnp.sum(tokens_BL)

  got, total = jax.jit(lambda x: text_lengths.apply(fn, x, (2, 5), text))(
    tokens
  )
  assert seen == [2, 5, 8]  # each is a branch of the program
  assert int(got) == cut_to
  assert int(total) == tokens.sum()


def test_padding_s_id_inside_a_caption_counts():
  """CLIP's "!" is the id that it pads with; some pad with the end of text."""
  text = runs.make_config({}).model.text
  for pad_id, eot_id, row in ((0, 9, [7, 0, 0, 9]), (9, 9, [7, 0, 0, 9])):
    tokens = jnp.asarray([row + [pad_id] * 4])
    config = dataclasses.replace(text, pad_id=pad_id, eot_id=eot_id)
    got = text_lengths.apply(
      lambda x: jnp.full((), x.shape[1]), tokens, (2, 3, 4, 5), config
    )
    assert int(got) == 4


@pytest.mark.slow
def test_a_step_is_the_same():
  losses = []
  for lengths in ((), (3, 5)):
    config = runs.make_config(steps.FAST | _CAUSAL | {"text_lengths": lengths})
    batch = steps.batch(config)
    batch["tokens"][:, 4:] = 0
    losses.append(steps.build(config).loss(batch))
  # Attention over 8 positions or 5 adds the same numbers in another order.
  np.testing.assert_allclose(losses[1], losses[0], rtol=2e-6)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"text_lengths": (5, 3)}, r"must ascend, .*got \(5, 3\)"),
    ({"text_lengths": (3, 3)}, r"must ascend"),
    ({"text_lengths": (0, 3)}, r"above 0"),
    ({"text_lengths": (3, 8)}, r"below data\.num_tokens=8; got \(3, 8\)"),
    (
      {"text_lengths": (3,), "model.text.mask_padding": False},
      r"looks at padding.*mask_padding=False",
    ),
    (
      {"text_lengths": (3,), "model.text.pool": "last"},
      r'pool="last"',
    ),
    (
      _CAUSAL | {"text_lengths": (3,), "model.text.pool": "last"},
      r"causal=True",
    ),
  ],
)
def test_refuses(changes, message):
  with pytest.raises(ValueError, match=message):
    runs.make_config(changes)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("pool", "mask_padding", "causal"),
  [
    ("last", True, True),
    ("cls", True, True),
    ("eot", False, True),
    ("eot", False, False),
    ("mean", False, True),
    ("mean", True, False),
    ("map", False, False),
    ("map", True, True),
    ("first", True, False),
  ],
)
def test_ignores_padding_says_what_the_tower_does(pool, mask_padding, causal):
  config = runs.make_config(
    {
      "model.text.pool": pool,
      "model.text.mask_padding": mask_padding,
      "model.text.causal": causal,
    }
  )
  _, embed_texts = dual_encoder.embed_fns(config.model)
  params = jax.jit(dual_encoder.init_params, static_argnums=0)(
    config.model, jax.random.key(0)
  )
  tokens = np.zeros((2, 8), np.int32)
  tokens[0, :3], tokens[1, :5] = [7, 9, 11], [3, 5, 2, 8, 4]
  run = jax.jit(embed_texts)
  gap = np.abs(run(params, tokens) - run(params, tokens[:, :5])).max()
  assert (gap < 1e-5) == config.model.text.ignores_padding


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data.train_num_tokens": 1}, r"0, or at least 2 and below .*=8; got 1"),
    ({"data.train_num_tokens": 8}, r"below data\.num_tokens=8; got 8"),
    (
      {"data.train_num_tokens": 4, "data.cut_captions": False},
      r"train_num_tokens must be 0 with data\.cut_captions=False, .*got 4",
    ),
    (
      {"data.train_num_tokens": 4, "text_lengths": (3, 5), **_CAUSAL},
      r"text_lengths must be below data\.train_num_tokens=4; got \(3, 5\)",
    ),
    (
      {"data.train_num_tokens": 4, "curating.filter_ratio": 0.5},
      r"train_num_tokens must be 0 with config\.curating, which reads whole",
    ),
  ],
)
def test_lengths_of_training_that_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    runs.make_config({"data.num_tokens": 8} | changes)
