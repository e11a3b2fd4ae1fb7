"""Beam search with the scores and stopping rules of transformers < 5.

They are those of its BeamSearchScorer, which open_clip's CoCa uses: each text
has `num_beams` beams that go on, and as many best texts that ended. A text ends
where its end is among the `num_beams` best continuations of all beams. Beams
that reach max_length count as ended.

Shape letters beside those of models/layers.py: P tokens of a prompt, W beams, C
continuations that are looked at, twice as many as beams.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from models.decoding import generation
from runtime import checks

# Rules by which a text's search ends before max_length, once it has num_beams
# ended texts. "full": at once. "heuristic": when the best continuation, divided
# by the penalty of its present length, is no better than the worst of them.
# "never": likewise, by the penalty of max_length if that is above 0, so that
# nothing better is missed unless log-probabilities are above 0.
STOPS = ("full", "heuristic", "never")
# Score of the beams that are copies of the first, before the first token.
_COPY = -1e9


@dataclasses.dataclass(frozen=True)
class BeamConfig:
  """Fields of a beam search; transformers' names are in parentheses.

  Attributes:
    num_beams: beams of a text (num_beams).
    length_penalty: power of the length that a text's score is divided by; the
      larger, the longer the texts (length_penalty).
    stop: one of STOPS (early_stopping True, False, "never").
    counts_prompt: whether the prompt is part of the length; open_clip's is.
    normalises: whether a score is a sum of log-probabilities; open_clip sums
      the logits as they are.
  """

  num_beams: int
  length_penalty: float = 1.0
  stop: str = "heuristic"
  counts_prompt: bool = False
  normalises: bool = True

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    checks.at_least("num_beams", self.num_beams, 1)
    checks.one_of("stop", self.stop, STOPS)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _State:
  """Beams of all texts, and their best ended texts.

  Attributes:
    position: place of the last token.
    cache: cache of the beams, [.., b * W, ..].
    tokens_bWL: tokens of the beams.
    score_bW: their sums of scores.
    ended: tokens_bWL, length_bW and score_bW of ended texts; -inf for none.
    done_b: whether a text's search has ended.
  """

  position: jax.Array
  cache: Any
  tokens_bWL: jax.Array
  score_bW: jax.Array
  ended: dict[str, jax.Array]
  done_b: jax.Array


def search(
  step: generation.Step,
  cache: Any,
  prompt_bP: jax.Array,
  ending: generation.Ending,
  config: BeamConfig,
) -> generation.Texts:
  """Return the best text of each prompt.

  Args:
    step: as in `generation.greedy`; texts of a prompt stand side by side.
    cache: cache without tokens, of num_beams texts a prompt.
    prompt_bP: int32 first tokens of each text, P at least 1.
    ending: rules that end a text.
    config: fields of the search.

  Raises:
    ValueError: a value cannot be used, or lengths do not fit.
  """
  config.check()
  b, num_prompt = prompt_bP.shape
  ending.check(num_prompt)
  num_beams = config.num_beams
  num_uncounted = 0 if config.counts_prompt else num_prompt

  def penalised(score: jax.Array, num_tokens: jax.Array | int) -> jax.Array:
    length = jnp.asarray(num_tokens - num_uncounted, jnp.float32)
    return score / length**config.length_penalty

  def body(state: _State) -> _State:
    position, tokens_bWL = state.position, state.tokens_bWL
    num_tokens = position + 2  # with the one that is chosen here
    token_bW = jax.lax.dynamic_index_in_dim(tokens_bWL, position, 2, False)
    logits_rV, cache = step(state.cache, token_bW.reshape(-1), position)
    logits_rV = logits_rV.astype(jnp.float32)
    if config.normalises:
      logits_rV = jax.nn.log_softmax(logits_rV, axis=1)
    logits_rV = ending.forbid(logits_rV, position + 1)
    vocab_size = logits_rV.shape[1]
    total_bWV = logits_rV.reshape(b, num_beams, -1) + state.score_bW[..., None]
    score_bC, index_bC = jax.lax.top_k(total_bWV.reshape(b, -1), 2 * num_beams)
    beam_bC, token_bC = index_bC // vocab_size, index_bC % vocab_size
    tokens_bCL = _pick(tokens_bWL, beam_bC)
    tokens_bCL = jax.lax.dynamic_update_slice_in_dim(
      tokens_bCL, token_bC[..., None], position + 1, 2
    )
    is_end_bC = token_bC == ending.end_id
    ends_bW = is_end_bC[:, :num_beams] & ~state.done_b[:, None]
    score_bW = penalised(score_bC[:, :num_beams], num_tokens)
    ended = _best(
      state.ended,
      tokens_bCL[:, :num_beams],
      num_tokens,
      jnp.where(ends_bW, score_bW, -jnp.inf),
    )
    # A beam ends in one continuation of C at most: W are left.
    order_bW = jnp.argsort(is_end_bC, axis=1, stable=True)[:, :num_beams]
    beam_bW = jnp.take_along_axis(beam_bC, order_bW, axis=1)
    row_r = (jnp.arange(b)[:, None] * num_beams + beam_bW).reshape(-1)
    worst_b = jnp.min(ended["score_bW"], axis=1)  # -inf: fewer than num_beams
    attainable = num_tokens
    if config.stop == "never" and config.length_penalty > 0:
      attainable = ending.max_length
    is_done_b = worst_b >= penalised(score_bC[:, 0], attainable)
    if config.stop == "full":
      is_done_b = jnp.ones(b, bool)
    return _State(
      position + 1,
      jax.tree.map(lambda x: jnp.take(x, row_r, axis=1), cache),
      _pick(tokens_bCL, order_bW),
      jnp.take_along_axis(score_bC, order_bW, axis=1),
      ended,
      state.done_b | (is_done_b & (worst_b > -jnp.inf)),
    )

  def goes_on(state: _State) -> jax.Array:
    is_short = state.position + 1 < ending.max_length
    return is_short & ~jnp.all(state.done_b)

  prompt_rP = jnp.repeat(prompt_bP, num_beams, axis=0)
  tokens_bWL = generation.padded(prompt_rP, ending).reshape(b, num_beams, -1)
  state = jax.lax.while_loop(
    goes_on,
    body,
    _State(
      position=jnp.int32(num_prompt - 1),
      cache=generation.read(step, cache, prompt_rP),
      tokens_bWL=tokens_bWL,
      score_bW=jnp.full((b, num_beams), _COPY).at[:, 0].set(0.0),
      ended={
        "tokens_bWL": tokens_bWL,
        "length_bW": jnp.full((b, num_beams), num_prompt, jnp.int32),
        "score_bW": jnp.full((b, num_beams), -jnp.inf),
      },
      done_b=jnp.zeros(b, bool),
    ),
  )
  score_bW = penalised(state.score_bW, ending.max_length)
  ended = _best(
    state.ended,
    state.tokens_bWL,
    ending.max_length,
    jnp.where(state.done_b[:, None], -jnp.inf, score_bW),
  )
  return generation.Texts(
    ended["tokens_bWL"][:, 0], ended["length_bW"][:, 0], ended["score_bW"][:, 0]
  )


def _best(
  ended: dict[str, jax.Array],
  tokens_bWL: jax.Array,
  num_tokens: jax.Array | int,
  score_bW: jax.Array,
) -> dict[str, jax.Array]:
  """Return the best of ended texts and new ones, best first."""
  num_beams = score_bW.shape[1]
  new = {
    "tokens_bWL": tokens_bWL,
    "length_bW": jnp.full(score_bW.shape, num_tokens, jnp.int32),
    "score_bW": score_bW,
  }
  both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), ended, new)
  _, index_bW = jax.lax.top_k(both["score_bW"], num_beams)
  return jax.tree.map(lambda x: _pick(x, index_bW), both)


def _pick(x_bW: jax.Array, index_bW: jax.Array) -> jax.Array:
  """Return elements of axis 1, each row its own."""
  index = index_bW.reshape(*index_bW.shape, *(1,) * (x_bW.ndim - 2))
  return jnp.take_along_axis(x_bW, index, axis=1)
