"""Pooling: the token of a caption that becomes its embedding."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import towers


def test_eot_is_the_first_token_of_that_id():
  """Padding's id inside a caption is a token, as CLIP's "!" is."""
  config = towers.make_config(
    text={"pool": "eot", "causal": True, "mask_padding": False, "eot_id": 49}
  )
  model = towers.make_model(config)
  one_caption = {
    "alone": [7, 0, 49],
    "padded": [7, 0, 49, 0],
    "padded with eot": [7, 0, 49, 49],
    "something behind": [7, 0, 49, 3],
  }
  want = towers.embed_texts(model, jnp.asarray([[7, 0, 49]]))
  for name, row in one_caption.items():
    got = towers.embed_texts(model, jnp.asarray([row]))
    np.testing.assert_allclose(got, want, atol=1e-6, err_msg=name)
  others = towers.embed_texts(model, jnp.asarray([[7, 49, 0], [7, 0, 3]]))
  assert np.abs(others - want).max(axis=1).min() > 1e-3


def test_argmax_is_the_first_of_the_highest_id():
  """OpenAI's rule, also where tokens were added behind the end of text."""
  config = towers.make_config(
    text={"pool": "argmax", "causal": True, "mask_padding": False, "eot_id": 1}
  )
  model = towers.make_model(config)
  want = towers.embed_texts(model, jnp.asarray([[7, 0, 45]]))
  for row in ([7, 0, 45, 0], [7, 0, 45, 45], [7, 0, 45, 3, 1]):
    got = towers.embed_texts(model, jnp.asarray([row]))
    np.testing.assert_allclose(got, want, atol=1e-6, err_msg=str(row))
  other = towers.embed_texts(model, jnp.asarray([[7, 0, 45, 46]]))
  assert np.abs(other - want).max() > 1e-3
  assert not config.text.ignores_padding


def test_cls_token_sees_the_caption_and_the_first_padding():
  """The rule of open_clip's CoCa, whose mask is one position late."""
  config = towers.make_config(text={"pool": "cls", "causal": True})
  model = towers.make_model(config)
  tokens = jnp.asarray([[7, 9, 0, 0, 0, 0]])
  want = towers.embed_texts(model, tokens)
  # Positions 0 to 2 are seen, each through its embedding and position.
  for position, seen in ((0, True), (1, True), (2, True), (3, False)):
    tower = model.txt
    table = tower.position[...]
    tower.position[...] = table.at[position].multiply(-1.0)
    got = towers.embed_texts(model, tokens)
    tower.position[...] = table
    assert (np.abs(got - want).max() > 1e-3) == seen, position
  # How far away it is changes its own position.
  longer = towers.embed_texts(model, jnp.pad(tokens, ((0, 0), (0, 1))))
  assert np.abs(longer - want).max() > 1e-3


@pytest.mark.parametrize("causal", [False, True])
def test_without_eot_the_last_token_before_the_padding_is_pooled(causal):
  """A causal tower gives the same with all after it cut off."""
  config = towers.make_config(
    text={"pool": "eot", "causal": causal, "mask_padding": False}
  )
  model = towers.make_model(config)
  tokens = towers.make_tokens(lengths=(3,))
  cut = np.abs(
    towers.embed_texts(model, tokens) - towers.embed_texts(model, tokens[:, :3])
  )
  if causal:
    assert cut.max() < 1e-6
  else:  # without a mask the others see the padding
    assert cut.max() > 1e-3
