"""Questions: word embeddings, question attention, and maps of its vector.

Letters beside those of models/layers.py: W width of a word's vector.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers
from models.vqa import recurrent


class Words(nnx.Module):
  """Trained vectors of words, one table or two side by side.

  Ids of the number of words and above are padding, and have zeros.
  """

  def __init__(
    self, num_words: int, width: int, *, num_tables: int = 1, rngs: nnx.Rngs
  ):
    # The start of words that no file has: standard normal, as PyTorch's.
    self.tables = nnx.Param(
      jax.random.normal(rngs.params(), (num_tables, num_words, width))
    )

  def __call__(self, tokens_bL: jax.Array) -> jax.Array:
    """Return vectors [b, L, num_tables * W]."""
    tables_TVW = self.tables[...]
    is_word_bL1 = (tokens_bL < tables_TVW.shape[1])[..., None]
    found_TbLW = jnp.take(tables_TVW, tokens_bL, axis=1, mode="clip")
    return jnp.where(is_word_bL1, jnp.concatenate(found_TbLW, axis=-1), 0)


class QuestionVector(nnx.Module):
  """Question as one vector: words, GRU, question attention, affine maps.

  Source: QCR (ACM MM 2020; released code of med-vqa). With e_t a word's vector
  and h_t the GRU's state, a_t = softmax(w (tanh(W1 [e_t; h_t]) *
  sigmoid(W2 [e_t; h_t]))), and the vector is sum a_t h_t. A ReLU lies between
  maps, and dropout 0.5 before the last ReLU, only in training: the released
  code drops in evaluation too, which is a fault.
  """

  def __init__(
    self,
    num_words: int,
    word_width: int,
    width: int,
    widths: Sequence[int],
    *,
    rngs: nnx.Rngs,
  ):
    dense = {"dtype": "float32", "rngs": rngs}
    self.words = Words(num_words, word_width, rngs=rngs)
    self.recurrent = recurrent.Recurrent("gru", word_width, width, rngs=rngs)
    self.tanh_gate = layers.Dense(word_width + width, width, **dense)
    self.sigmoid_gate = layers.Dense(word_width + width, width, **dense)
    self.attention = layers.Dense(width, 1, **dense)
    sizes = [width, *widths]
    self.maps = nnx.Dict(
      {
        str(i): layers.Dense(sizes[i], sizes[i + 1], **dense)
        for i in range(len(widths))
      }
    )

  def __call__(
    self, tokens_bL: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return [b, widths[-1]] float32."""
    e_bLW = self.words(tokens_bL)
    h_bLD = self.recurrent(e_bLW)
    both = jnp.concatenate([e_bLW, h_bLD], axis=-1)
    gated_bLD = jnp.tanh(self.tanh_gate(both)) * jax.nn.sigmoid(
      self.sigmoid_gate(both)
    )
    weight_bL1 = jax.nn.softmax(self.attention(gated_bLD), axis=1)
    x_bD = jnp.sum(weight_bL1 * h_bLD, axis=1)
    *inner, last = self.maps.values()
    for index, affine in enumerate(inner):
      x_bD = affine(x_bD)
      if keys_b is not None and index == len(inner) - 1:
        x_bD = layers.dropout(x_bD, keys_b, 0.5)
      x_bD = jax.nn.relu(x_bD)
    return last(x_bD)
