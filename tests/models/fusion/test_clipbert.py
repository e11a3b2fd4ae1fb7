"""ClipBERT: clips apart, frames averaged, cells drawn, gradients to the CNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from losses import clips as clip_losses
from models.fusion import clipbert
from tests.models.fusion import tiny_clipbert

_cells = jax.jit(lambda model, clips: model.cells(clips))
_logits = jax.jit(lambda model, *args: model.logits(*args))


@pytest.fixture(scope="module")
def model():
  return tiny_clipbert.make()


@pytest.fixture(scope="module")
def cells(model):
  return _cells(model, tiny_clipbert.clips())


def test_shapes_and_padding(model, cells):
  assert cells.shape == (2, 2, 2, 2, 16)
  tokens = tiny_clipbert.tokens(2, 3)
  got = _logits(model, cells, tokens)
  assert got.shape == (2, 3, 2, 3)
  assert got.dtype == jnp.float32
  # The same terms and zeros, summed otherwise.
  short = _logits(model, cells, tokens[..., :5])
  np.testing.assert_allclose(got, short, atol=1e-6)


def test_rows_are_of_their_video_text_and_clip(model, cells):
  """Each logit equals that of its video, text and clip alone."""
  tokens = tiny_clipbert.tokens(2, 3)
  got = _logits(model, cells, tokens)
  for b, q, p in np.ndindex(2, 3, 2):
    alone = _logits(
      model, cells[b : b + 1, p : p + 1], tokens[b : b + 1, q : q + 1]
    )
    np.testing.assert_allclose(got[b, q, p], alone[0, 0, 0], atol=1e-5)


def test_permuting_clips_changes_nothing(model, cells):
  tokens = tiny_clipbert.tokens(2, 1)
  for how in clip_losses.AGGREGATES:
    forth, back = (
      clip_losses.aggregate(_logits(model, x, tokens)[:, 0], how)
      for x in (cells, cells[:, ::-1])
    )
    np.testing.assert_allclose(forth, back, atol=1e-6)


def test_frames_are_averaged_by_cell(model, cells):
  clips = tiny_clipbert.clips()
  apart = _cells(model, clips.reshape(2, 4, 1, *clips.shape[3:]))
  mean = apart.reshape(2, 2, 2, *apart.shape[2:]).mean(2)
  np.testing.assert_allclose(cells, mean, atol=1e-5)
  # The cells differ: an average of equal ones would prove nothing.
  assert np.abs(apart[:, 0] - apart[:, 1]).max() > 1e-3


def test_positions_reach_the_answer(model, cells):
  tokens = tiny_clipbert.tokens(2, 1)
  got = _logits(model, cells, tokens)
  for axis in (2, 3):
    turned = _logits(model, jnp.flip(cells, axis), tokens)
    assert np.abs(turned - got).max() > 1e-5


def test_gradients_reach_the_cnn_and_leave_frozen_norms(model):
  params, rest = nnx.split(model)[1], nnx.split(model)[0]
  params = nnx.to_pure_dict(params)

  def loss(params):
    merged = nnx.merge(rest, params)
    stats = {}
    cells = merged.cells(tiny_clipbert.clips(), stats)
    logits = merged.logits(cells, tiny_clipbert.tokens(2, 1))
    assert not jax.tree.leaves(stats)
    label = jnp.array([0, 2])
    return clip_losses.cross_entropy(logits[:, 0], label, "lse").mean()

  grads = jax.jit(jax.grad(loss))(params)
  for path in (("stem", "conv"), ("stages", "3", "first", "conv3")):
    kernel = grads["cnn"]
    for name in path:
      kernel = kernel[name]
    assert np.abs(kernel["kernel"]).max() > 1e-8, path
  assert np.any(grads["visual"]["encoder"]["kernel"])
  assert np.any(grads["txt"]["token_embedding"])
  norm = grads["cnn"]["stem"]["norm"]
  assert not np.any(norm["scale"])
  assert not np.any(norm["bias"])


def test_pretraining_sees_drawn_cells_by_example():
  model = tiny_clipbert.make(num_out=0, sampled_cells=2)
  cells = _cells(model, tiny_clipbert.clips(num_clips=1))
  tokens, keys = tiny_clipbert.tokens(2), tiny_clipbert.keys(2)
  run = jax.jit(lambda model, *args: model.pretraining(*args))
  words, matching = run(model, cells, tokens, keys)
  assert words.shape == (2, 8, 50)
  assert matching.shape == (2, 2)
  # In evaluation all cells are seen.
  assert np.abs(run(model, cells, tokens)[1] - matching).max() > 1e-5
  # A row's draw is its own key's.
  back = run(model, cells[::-1], tokens[::-1], keys[::-1])
  np.testing.assert_allclose(back[1][::-1], matching, atol=1e-6)


def test_cells_are_drawn_without_replacement():
  drawn = clipbert.draw_cells(tiny_clipbert.keys(200), 9, 4)
  assert drawn.shape == (200, 4)
  assert (np.diff(drawn, axis=1) > 0).all()
  # 800 draws of 9 cells: 89 each, 5 standard deviations are 35.
  assert (abs(np.bincount(np.ravel(drawn), minlength=9) - 800 / 9) < 36).all()
  whole = clipbert.draw_cells(tiny_clipbert.keys(1), 3, 100)
  assert whole.tolist() == [[0, 1, 2]]


@pytest.mark.long
def test_dropout_is_a_rows_own(model, cells):
  tokens, keys = tiny_clipbert.tokens(2, 1), tiny_clipbert.keys(2)
  dropping = tiny_clipbert.make(dropout=0.5)
  want = _logits(dropping, cells, tokens, keys)
  assert np.abs(_logits(model, cells, tokens) - want).max() > 1e-3
  back = _logits(dropping, cells[::-1], tokens[::-1], keys[::-1])
  np.testing.assert_allclose(back[::-1], want, atol=1e-5)


def test_messages():
  config = clipbert.ClipBertConfig(num_rows=4)
  with pytest.raises(ValueError, match="data.image_size must be at least 64"):
    config.check(48)
  with pytest.raises(ValueError, match=r"clipbert\.num_rows must be at least"):
    config.check(448)
