"""Generation of texts, token by token, greedy or from the nucleus.

A model is given as a step: a function of the tokens' cache, one input of each
text and its place, to the logits of the next tokens. Every function here can be
compiled: loops are XLA's, shapes are fixed by `Ending.max_length`.

Shape letters beside those of models/layers.py: P tokens of a prompt.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models import layers
from runtime import checks

# (cache, token int32 [b], position int32 scalar) -> (logits float32 [b, V] of
# the tokens at position + 1, cache). Arrays of a cache have texts on axis 1.
Step = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
# (logits float32 [b, V], position of the logits' input) -> token int32 [b].
Choose = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Ending:
  """Rules that end a text.

  Attributes:
    max_length: most tokens of a text, its prompt included.
    end_id: token that ends a text.
    pad_id: token behind the end.
    min_length: a text with fewer tokens than this, its prompt included, does
      not end yet.
  """

  max_length: int
  end_id: int
  pad_id: int
  min_length: int = 0

  def check(self, prompt_length: int) -> None:
    """Raise ValueError, naming the argument, for lengths that do not fit."""
    checks.at_least("prompt's length", prompt_length, 1)
    checks.above("max_length", self.max_length, prompt_length)
    checks.between("min_length", self.min_length, 0, self.max_length)

  def forbid(self, logits: jax.Array, num_tokens: jax.Array) -> jax.Array:
    """Return logits [..., V] of which none ends a text too early."""
    is_end_V = jnp.arange(logits.shape[-1]) == self.end_id
    is_early = num_tokens < self.min_length
    return jnp.where(is_end_V & is_early, -jnp.inf, logits)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Texts:
  """Generated texts.

  Attributes:
    tokens_bL: int32 [b, max_length], prompt and end included, then padding.
    length_b: int32, tokens before the padding.
    score_b: float32: the sum of the log-probabilities of the generated tokens;
      beam search divides it by its length penalty.
  """

  tokens_bL: jax.Array
  length_b: jax.Array
  score_b: jax.Array


def greedy(
  step: Step,
  cache: Any,
  prompt_bP: jax.Array,
  ending: Ending,
  *,
  closes: bool = False,
  stops_at_pad: bool = False,
) -> Texts:
  """Return the texts of the most probable token at each place.

  Args:
    step: model.
    cache: cache without tokens, of as many texts as prompts, for max_length
      tokens.
    prompt_bP: int32 first tokens of each text, P at least 1.
    ending: rules that end a text.
    closes: whether the last token of a text of max_length is end_id, as in
      open_clip's CoCa.
    stops_at_pad: whether a generated pad_id ends a text too, as there.

  Raises:
    ValueError: lengths do not fit.
  """

  def choose(logits_bV: jax.Array, position: jax.Array) -> jax.Array:
    del position
    return jnp.argmax(logits_bV, axis=1).astype(jnp.int32)

  return _extend(step, cache, prompt_bP, ending, choose, closes, stops_at_pad)


def nucleus(
  step: Step,
  cache: Any,
  prompt_bP: jax.Array,
  ending: Ending,
  *,
  keys_b: jax.Array,
  top_p: float,
  temperature: float = 1.0,
  closes: bool = False,
  stops_at_pad: bool = False,
) -> Texts:
  """Return texts whose tokens are drawn from the nucleus (arXiv 1904.09751).

  A text's draws depend on its own key alone, not on the rest of the batch.

  Args:
    step: as in `greedy`.
    cache: as in `greedy`.
    prompt_bP: as in `greedy`.
    ending: as in `greedy`.
    keys_b: one random key a text.
    top_p: mass of the nucleus, above 0 and at most 1; see `nucleus_logits`.
    temperature: divisor of the logits, before the nucleus is cut.
    closes: as in `greedy`.
    stops_at_pad: as in `greedy`.

  Raises:
    ValueError: a value is out of range, or lengths do not fit.
  """
  checks.above("top_p", top_p, 0)
  checks.between("top_p", top_p, 0, 1)
  checks.above("temperature", temperature, 0)

  def choose(logits_bV: jax.Array, position: jax.Array) -> jax.Array:
    logits_bV = nucleus_logits(logits_bV / temperature, top_p)
    keys_here_b = layers.fold_in(keys_b, position)
    return jax.vmap(jax.random.categorical)(keys_here_b, logits_bV).astype(
      jnp.int32
    )

  return _extend(step, cache, prompt_bP, ending, choose, closes, stops_at_pad)


def nucleus_logits(logits_bV: jax.Array, top_p: float) -> jax.Array:
  """Return logits, -inf outside of the nucleus.

  The nucleus is the smallest set of most probable tokens whose probabilities
  sum to at least `top_p`; tokens as probable as its last one are in it too.

  >>> logits = nucleus_logits(jnp.log(jnp.array([[0.5, 0.3, 0.2]])), 0.6)
  >>> jnp.isfinite(logits).tolist()
  [[True, True, False]]
  """
  sorted_bV = -jnp.sort(-logits_bV, axis=1)
  p_bV = jax.nn.softmax(sorted_bV, axis=1)
  mass_before_bV = jnp.cumsum(p_bV, axis=1) - p_bV
  # The first is in it, whatever rounding does.
  is_in_bV = (mass_before_bV < top_p).at[:, 0].set(True)
  last_b1 = jnp.min(
    sorted_bV, axis=1, where=is_in_bV, initial=jnp.inf, keepdims=True
  )
  return jnp.where(logits_bV >= last_b1, logits_bV, -jnp.inf)


def read(step: Step, cache: Any, tokens_bP: jax.Array) -> Any:
  """Return the cache after all tokens of prompts but the last."""

  def body(cache, at):
    token_b, position = at
    return step(cache, token_b, position)[1], None

  num_read = tokens_bP.shape[1] - 1
  if not num_read:
    return cache
  return jax.lax.scan(
    body, cache, (tokens_bP[:, :num_read].T, jnp.arange(num_read))
  )[0]


def padded(prompt_bP: jax.Array, ending: Ending) -> jax.Array:
  """Return prompts with padding up to max_length, int32."""
  num_padding = ending.max_length - prompt_bP.shape[1]
  return jnp.pad(
    prompt_bP.astype(jnp.int32),
    ((0, 0), (0, num_padding)),
    constant_values=ending.pad_id,
  )


def _extend(
  step: Step,
  cache: Any,
  prompt_bP: jax.Array,
  ending: Ending,
  choose: Choose,
  closes: bool,
  stops_at_pad: bool,
) -> Texts:
  b, num_prompt = prompt_bP.shape
  ending.check(num_prompt)

  def body(state):
    position, tokens_bL, length_b, score_b, done_b, cache = state
    token_b = jax.lax.dynamic_index_in_dim(tokens_bL, position, 1, False)
    logits_bV, cache = step(cache, token_b, position)
    logits_bV = logits_bV.astype(jnp.float32)
    next_b = choose(ending.forbid(logits_bV, position + 1), position)
    if closes:
      is_last = position + 2 == ending.max_length
      next_b = jnp.where(is_last, ending.end_id, next_b)
    log_p_bV = jax.nn.log_softmax(logits_bV, axis=1)
    log_p_b = jnp.take_along_axis(log_p_bV, next_b[:, None], axis=1)[:, 0]
    next_b = jnp.where(done_b, ending.pad_id, next_b)
    tokens_bL = jax.lax.dynamic_update_slice_in_dim(
      tokens_bL, next_b[:, None], position + 1, 1
    )
    ends_b = next_b == ending.end_id
    if stops_at_pad:
      ends_b |= next_b == ending.pad_id
    return (
      position + 1,
      tokens_bL,
      length_b + ~done_b,
      score_b + jnp.where(done_b, 0.0, log_p_b),
      done_b | ends_b,
      cache,
    )

  def goes_on(state):
    position, *_, done_b, _ = state
    return (position + 1 < ending.max_length) & ~jnp.all(done_b)

  state = (
    jnp.int32(num_prompt - 1),
    padded(prompt_bP, ending),
    jnp.full(b, num_prompt, jnp.int32),
    jnp.zeros(b),
    jnp.zeros(b, bool),
    read(step, cache, prompt_bP),
  )
  _, tokens_bL, length_b, score_b, _, _ = jax.lax.while_loop(
    goes_on, body, state
  )
  return Texts(tokens_bL, length_b, score_b)
