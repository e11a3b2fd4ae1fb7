"""A model of generation whose logits depend on all tokens so far, each once.

Its logits are a sum of a table's entries, one for each place and token; the
cache is that sum, so a cache of another text shows.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

BEGIN, END, PAD = 0, 1, 2


def make_table(seed: int, vocab_size: int, length: int, scale=1.0):
  """Return random float32 [length, vocab_size, vocab_size]."""
  rng = np.random.default_rng(seed)
  shape = (length, vocab_size, vocab_size)
  return (scale * rng.normal(size=shape)).astype(np.float32)


def step(table_LVV, cache, token_r, position):
  """Return logits [r, V] and the cache, [1, r, V], as a generation.Step."""
  cache = cache + jnp.asarray(table_LVV)[position, token_r][None]
  return cache[0], cache


def empty_cache(table_LVV, num_rows: int) -> jax.Array:
  return jnp.zeros((1, num_rows, table_LVV.shape[1]), jnp.float32)


def logits(table_LVV, tokens) -> np.ndarray:
  """Return the logits of the token behind these, float64 [V]."""
  return sum(np.float64(table_LVV[i, token]) for i, token in enumerate(tokens))


def log_p(table_LVV, tokens) -> np.ndarray:
  """Return log-probabilities of the token behind these, float64 [V]."""
  x = logits(table_LVV, tokens)
  return x - x.max() - np.log(np.exp(x - x.max()).sum())


def all_texts(vocab_size: int, prompt: list[int], max_length: int):
  """Yield every text that ends, or reaches max_length without an end."""
  for num in range(1, max_length - len(prompt) + 1):
    for new in itertools.product(range(vocab_size), repeat=num):
      is_full = len(prompt) + num == max_length
      if END not in new[:-1] and (new[-1] == END or is_full):
        yield [*prompt, *new]
