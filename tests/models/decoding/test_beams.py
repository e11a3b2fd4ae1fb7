"""Beam search: exhaustive search, its rules written out, the decoder."""

import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.decoding import beams, generation, inputs
from tests.models.decoding import histories, tiny_decoder
from tests.models.decoding.histories import END, PAD


def _search(table, prompts, ending, config):
  @jax.jit
  def run():
    return beams.search(
      functools.partial(histories.step, table),
      histories.empty_cache(table, len(prompts) * config.num_beams),
      jnp.asarray(prompts),
      ending,
      config,
    )

  return jax.tree.map(np.asarray, run())


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_wide_beams_find_the_best_text(penalty):
  """Three generated tokens of a vocabulary of three: 15 texts."""
  table = histories.make_table(1, 3, 4)
  ending = generation.Ending(4, END, PAD)
  config = beams.BeamConfig(9, penalty, stop="never")
  got = _search(table, [[0], [2]], ending, config)
  for row, begin in enumerate((0, 2)):
    scores = {}
    for text in histories.all_texts(3, [begin], 4):
      steps = range(1, len(text))
      total = sum(histories.log_p(table, text[:i])[text[i]] for i in steps)
      scores[tuple(text)] = total / len(steps) ** penalty
    assert len(scores) == 15
    best = max(scores, key=scores.get)
    padding = (PAD,) * (4 - len(best))
    assert tuple(got.tokens_bL[row]) == best + padding
    assert got.length_b[row] == len(best)
    assert got.score_b[row] == pytest.approx(scores[best], rel=1e-5)


def _by_hand(table, prompt, ending, config):
  """Search for one text with lists; return it, its score, and its steps."""
  width, num_prompt = config.num_beams, len(prompt)
  uncounted = 0 if config.counts_prompt else num_prompt
  open_beams = [(0.0, list(prompt))] + [(-1e9, list(prompt))] * (width - 1)
  ended, is_done, length = [], False, num_prompt
  while length < ending.max_length and not is_done:
    found = []
    for total, tokens in open_beams:
      scores = (histories.log_p if config.normalises else histories.logits)(
        table, tokens
      )
      for token, score in enumerate(scores):
        is_early = length < ending.min_length and token == ending.end_id
        if not is_early:
          found.append((total + score, [*tokens, token]))
    found = sorted(found, key=lambda x: -x[0])[: 2 * width]
    length += 1
    power = (length - uncounted) ** config.length_penalty
    open_beams = []
    for rank, (score, tokens) in enumerate(found):
      if tokens[-1] != ending.end_id:
        open_beams.append((score, tokens))
      elif rank < width:
        ended.append((score / power, tokens))
    ended = sorted(ended, key=lambda x: -x[0])[:width]
    open_beams = open_beams[:width]
    if len(ended) == width:
      limit = power
      if config.stop == "never" and config.length_penalty > 0:
        limit = (ending.max_length - uncounted) ** config.length_penalty
      is_done = config.stop == "full" or ended[-1][0] >= found[0][0] / limit
  if not is_done:
    power = (length - uncounted) ** config.length_penalty
    ended += [(score / power, tokens) for score, tokens in open_beams]
  score, tokens = max(ended, key=lambda x: x[0])
  return tokens, score, length


CONFIGS = [
  (beams.BeamConfig(3), 0),
  (beams.BeamConfig(2, 2.0, stop="full"), 4),
  (beams.BeamConfig(4, 0.5, stop="never"), 0),
  (beams.BeamConfig(2, counts_prompt=True, normalises=False), 3),
  (beams.BeamConfig(1), 0),
]


@pytest.mark.parametrize(("config", "min_length"), CONFIGS)
def test_rules_written_out(config, min_length):
  """Searches of one batch end at different lengths."""
  table = histories.make_table(11, 7, 9)
  prompts = [[0, i] for i in range(2, 7)] + [[3, i] for i in range(2, 7)]
  ending = generation.Ending(9, END, PAD, min_length)
  got = _search(table, prompts, ending, config)
  stopped = set()
  for row, prompt in enumerate(prompts):
    tokens, score, length = _by_hand(table, prompt, ending, config)
    stopped.add(length)
    assert got.tokens_bL[row].tolist() == tokens + [PAD] * (9 - len(tokens))
    assert got.length_b[row] == len(tokens)
    assert got.score_b[row] == pytest.approx(score, rel=1e-4)
  assert len(stopped) > 1


with np.load(pathlib.Path(__file__).parent / "golden" / "beams.npz") as file:
  GOLDEN = dict(file)


@pytest.mark.parametrize("name", [name for name in GOLDEN if "/" in name])
def test_published_searches(name):
  """Texts of open_clip's CoCa and of transformers' scorer, token for token.

  The file is made by tests/parity/makers/golden_beams.py.
  """
  source, num_beams, *rest = name.split("/")
  num_beams, min_length = int(num_beams), 0
  if source == "open_clip":
    min_length = int(rest[0])
    config = beams.BeamConfig(num_beams, counts_prompt=True, normalises=False)
  else:
    config = beams.BeamConfig(num_beams, float(rest[0]), stop=rest[1])
  tables = jnp.asarray(GOLDEN["tables"])
  num_rows, length, vocab_size, _ = tables.shape
  table_r = jnp.repeat(jnp.arange(num_rows), num_beams)

  def step(cache, token_r, position):
    cache = cache + tables[table_r, position, token_r][None]
    return cache[0], cache

  got = jax.jit(
    lambda: beams.search(
      step,
      jnp.zeros((1, num_rows * num_beams, vocab_size)),
      jnp.zeros((num_rows, 1), jnp.int32),
      generation.Ending(length, END, PAD, min_length),
      config,
    )
  )()
  np.testing.assert_array_equal(got.tokens_bL, GOLDEN[name])
  assert len(set(np.asarray(got.length_b).tolist())) > 1


def test_one_beam_is_greedy_where_nothing_ends():
  table = histories.make_table(2, 6, 7)
  table[:, :, END] = -50.0
  ending = generation.Ending(7, END, PAD)
  prompts = [[0], [3]]
  got = _search(table, prompts, ending, beams.BeamConfig(1))
  greedy = generation.greedy(
    functools.partial(histories.step, table),
    histories.empty_cache(table, 2),
    jnp.asarray(prompts),
    ending,
  )
  np.testing.assert_array_equal(got.tokens_bL, greedy.tokens_bL)
  np.testing.assert_allclose(got.score_b, greedy.score_b / 6, rtol=1e-5)


def test_the_decoder_with_its_cache():
  """Scores are those of the found texts, read as a whole."""
  model = tiny_decoder.make_talkative()
  config = beams.BeamConfig(3, length_penalty=0.0)
  ending = generation.Ending(7, END, PAD, min_length=6)

  @jax.jit
  def run(model, image):
    images = model.images(image, tiny_decoder.IMAGE_MASK)
    return beams.search(
      functools.partial(model.step, images),
      model.empty_cache(3 * config.num_beams, 7),
      jnp.full((3, 1), 3),
      ending,
      config,
    )

  got = run(model, tiny_decoder.IMAGE)
  logits = model.logits(
    model.states(
      inputs.Inputs(got.tokens_bL), tiny_decoder.IMAGE, tiny_decoder.IMAGE_MASK
    )
  )
  log_p = np.asarray(jax.nn.log_softmax(logits, axis=2))
  for row, tokens in enumerate(np.asarray(got.tokens_bL)):
    length = int(got.length_b[row])
    assert length >= 6
    want = math.fsum(log_p[row, i - 1, tokens[i]] for i in range(1, length))
    assert got.score_b[row] == pytest.approx(want, rel=1e-4)


def test_bad_fields_are_named():
  with pytest.raises(ValueError, match="num_beams must be at least 1; got 0"):
    beams.BeamConfig(0).check()
  with pytest.raises(ValueError, match="stop must be one of full, heuristic"):
    beams.BeamConfig(2, stop="soon").check()
