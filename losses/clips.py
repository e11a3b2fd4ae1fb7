"""Logits of a video's clips, aggregated (ClipBERT, arXiv 2102.06183).

A video is answered clip by clip; the clips' logits are then aggregated to those
of the video, of which the loss is an ordinary cross-entropy.

Shape letters beside those of models/layers.py: P clips of a video, A answers.
"""

import types
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

# Name -> function from logits of clips, axis 1, to logits of the video.
AGGREGATES: Mapping[str, Callable[[jax.Array], jax.Array]] = (
  types.MappingProxyType(
    {
      "mean": lambda logits_bPA: jnp.mean(logits_bPA, axis=1),
      "max": lambda logits_bPA: jnp.max(logits_bPA, axis=1),
      "lse": lambda logits_bPA: jax.nn.logsumexp(logits_bPA, axis=1),
    }
  )
)


def aggregate(logits_bPA: jax.Array, how: str) -> jax.Array:
  """Return the logits of videos, [b, A] float32, of those of their clips.

  The softmax of the result is the probability of each answer: with "lse" the
  share of an answer in the sum of exp(logit) over all clips and answers. One
  clip is returned as it is, and the order of clips has no effect.

  Args:
    logits_bPA: logits of the clips.
    how: key of AGGREGATES: mean, largest, or logarithm of the sum of
      exponentials ("lse").

  >>> logits = jnp.array([[[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]]])
  >>> round(float(aggregate(logits, "lse")[0, 0]), 6)
  2.126928
  """
  return AGGREGATES[how](logits_bPA.astype(jnp.float32))


def cross_entropy(
  logits_bPA: jax.Array, label_b: jax.Array, how: str
) -> jax.Array:
  """Return the loss of each video, [b] float32.

  With "lse" it is logsumexp over clips and answers, less logsumexp over clips
  of the right answer's logits: equation 2 of the paper.

  Args:
    logits_bPA: logits of the clips.
    label_b: int32 index of the right answer.
    how: as in `aggregate`.

  >>> logits = jnp.array([[[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]]])
  >>> round(float(cross_entropy(logits, jnp.array([0]), "lse")[0]), 6)
  0.59394
  """
  return optax.softmax_cross_entropy_with_integer_labels(
    aggregate(logits_bPA, how), label_b
  )
