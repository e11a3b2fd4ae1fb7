"""Greedy and nucleus generation, with a table's logits and with the decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.decoding import generation, inputs
from tests.models.decoding import histories, tiny_decoder
from tests.models.decoding.histories import BEGIN, END, PAD

ENDING = generation.Ending(max_length=7, end_id=END, pad_id=PAD)


def _decoder_texts(model, prompt, generate):
  @jax.jit
  def run(model, image):
    images = model.images(image, tiny_decoder.IMAGE_MASK)
    return generate(
      functools.partial(model.step, images),
      model.empty_cache(len(image), ENDING.max_length),
      prompt,
      ENDING,
    )

  return run(model, tiny_decoder.IMAGE)


def test_cached_greedy_equals_an_uncached_loop():
  model = tiny_decoder.make_talkative()
  prompt = jnp.array([[1, 3], [1, 4], [1, 5]])
  got = _decoder_texts(model, prompt, generation.greedy)

  @jax.jit
  def logits_of(tokens_bL):
    given = inputs.Inputs(tokens_bL)
    return model.logits(
      model.states(given, tiny_decoder.IMAGE, tiny_decoder.IMAGE_MASK)
    )

  tokens = np.pad(prompt, ((0, 0), (0, 5)), constant_values=PAD)
  ended = np.zeros(3, bool)
  for i in range(1, 6):
    # Causal: the padding behind place i is not seen.
    following = np.argmax(logits_of(tokens)[:, i], axis=1)
    tokens[:, i + 1] = np.where(ended, PAD, following)
    ended |= tokens[:, i + 1] == END
  np.testing.assert_array_equal(got.tokens_bL, tokens)
  assert len(np.unique(tokens[:, 2:])) > 2


def _table_texts(table, num_rows=2, ending=ENDING, prompt=None, **kwargs):
  prompt = jnp.full((num_rows, 1), BEGIN) if prompt is None else prompt
  generate = generation.nucleus if "top_p" in kwargs else generation.greedy

  @jax.jit
  def run():
    return generate(
      functools.partial(histories.step, table),
      histories.empty_cache(table, len(prompt)),
      prompt,
      ending,
      **kwargs,
    )

  return jax.tree.map(np.asarray, run())


def _greedy_by_hand(table, prompt, ending):
  """Return tokens, and the sum of their log-probabilities."""
  tokens, score = list(prompt), 0.0
  while len(tokens) < ending.max_length:
    log_p = histories.log_p(table, tokens)
    allowed = log_p.copy()
    if len(tokens) < ending.min_length:
      allowed[ending.end_id] = -np.inf
    tokens.append(int(np.argmax(allowed)))
    score += log_p[tokens[-1]]
    if tokens[-1] == ending.end_id:
      break
  return tokens, score


@pytest.mark.parametrize("min_length", [0, 5])
def test_greedy_by_hand(min_length):
  """A row that ended stays as it is while others go on."""
  table = histories.make_table(3, 6, 7)
  ending = generation.Ending(7, END, PAD, min_length)
  prompt = jnp.array([[0], [2], [3], [4], [5]])
  got = _table_texts(table, ending=ending, prompt=prompt)
  lengths = []
  for i, begin in enumerate(np.asarray(prompt)):
    want, score = _greedy_by_hand(table, begin.tolist(), ending)
    lengths.append(len(want))
    padding = [PAD] * (7 - len(want))
    assert got.tokens_bL[i].tolist() == want + padding
    assert got.score_b[i] == pytest.approx(score, rel=1e-5)
  assert got.length_b.tolist() == lengths
  assert min(lengths) < 7
  assert min(lengths) >= min_length


def test_prompts_are_read_and_kept():
  table = histories.make_table(4, 6, 7)
  prompt = jnp.array([[0, 3, 5], [0, 5, 3]])
  got = _table_texts(table, prompt=prompt)
  for i, begin in enumerate(np.asarray(prompt)):
    want, _ = _greedy_by_hand(table, begin.tolist(), ENDING)
    assert got.tokens_bL[i, : len(want)].tolist() == want


def test_endings_of_open_clip():
  table = np.zeros((7, 4, 4), np.float32)
  table[0, BEGIN, 3] = 2.0  # 3, 3, ... without an end
  got = _table_texts(table, num_rows=1, closes=True)
  assert got.tokens_bL.tolist() == [[BEGIN, 3, 3, 3, 3, 3, END]]
  table[1, 3, PAD] = 5.0
  got = _table_texts(table, num_rows=1, stops_at_pad=True)
  assert got.tokens_bL.tolist() == [[BEGIN, 3, *[PAD] * 5]]
  assert got.length_b.tolist() == [3]


def test_the_nucleus_is_the_smallest_set():
  logits = jnp.log(jnp.array([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1]]))
  got = generation.nucleus_logits(logits, 0.65)
  want = [[False, True, False, True], [True, False, False, False]]
  assert np.isfinite(got).tolist() == want
  assert np.isfinite(generation.nucleus_logits(logits, 1.0)).all()
  first = np.isfinite(generation.nucleus_logits(logits, 1e-6))
  assert first.sum(axis=1).tolist() == [1, 1]


def test_frequencies_of_the_nucleus():
  """The second token of 4,000 texts, at half of the temperature."""
  p = np.array([0.1, 0.05, 0.05, 0.4, 0.2, 0.2])
  table = np.zeros((3, 6, 6), np.float32)
  table[0, BEGIN] = np.log(p)
  num = 4000
  kwargs = {"top_p": 0.85, "temperature": 0.5}
  ending = generation.Ending(2, END, PAD)
  keys = jax.random.split(jax.random.key(0), num)
  got = _table_texts(table, num, ending, keys_b=keys, **kwargs)
  # p^2, normalised, is 0.037, 0.009, 0.009, 0.604, 0.151, 0.151 (of which the
  # first three are outside) since 0.604 + 0.151 < 0.85.
  kept = np.where(p >= 0.2, p**2, 0)
  kept /= kept.sum()
  share = np.bincount(got.tokens_bL[:, 1], minlength=6) / num
  assert not share[kept == 0].any()
  # Four standard deviations of a share.
  assert np.all(
    np.abs(share - kept) < 4 * np.sqrt(kept * (1 - kept) / num + 1e-9)
  )
  # A text's draws are its own.
  part = _table_texts(table, 7, ending, keys_b=keys[90:97], **kwargs)
  np.testing.assert_array_equal(part.tokens_bL, got.tokens_bL[90:97])


def test_texts_of_the_nucleus_end():
  table = histories.make_table(6, 5, 7)
  keys = jax.random.split(jax.random.key(1), 200)
  got = _table_texts(table, 200, keys_b=keys, top_p=0.9)
  for tokens, length, score in zip(
    got.tokens_bL.tolist(), got.length_b, got.score_b, strict=True
  ):
    text = tokens[:length]
    assert set(tokens[length:]) <= {PAD}
    assert END not in text[:-1]
    assert len(text) == 7 or text[-1] == END
    want = sum(
      histories.log_p(table, text[:i])[text[i]] for i in range(1, length)
    )
    assert score == pytest.approx(want, rel=1e-4)
  assert len({tuple(tokens) for tokens in got.tokens_bL.tolist()}) > 50


def test_bad_arguments():
  table = histories.make_table(0, 4, 7)
  keys = jax.random.split(jax.random.key(1), 2)
  with pytest.raises(ValueError, match="top_p must be above 0; got 0"):
    _table_texts(table, keys_b=keys, top_p=0)
  with pytest.raises(ValueError, match=r"top_p must be between 0 and 1; got 2"):
    _table_texts(table, keys_b=keys, top_p=2)
  with pytest.raises(ValueError, match="max_length must be above 1; got 1"):
    _table_texts(table, ending=generation.Ending(1, END, PAD))
  with pytest.raises(ValueError, match="min_length must be between 0 and 7"):
    _table_texts(table, ending=generation.Ending(7, END, PAD, 8))
