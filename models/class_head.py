"""Linear head of an image tower: logits of classes from embeddings.

Shape letters beside those of layers.py: A classes.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from runtime import checks, marks

# First part of the paths of its parameters.
NAME = "head"


@dataclasses.dataclass(frozen=True)
class HeadConfig:
  """Fields of `config.model.head`; configs/base.py explains them."""

  classes: marks.Training[tuple[str, ...]] = ()
  prompts: marks.Training[tuple[str, ...]] = ()

  def check(self) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    if not self.classes and self.prompts:
      checks.refuse(
        f"model.head.prompts needs model.head.classes; got {self.prompts!r}"
      )
    if self.classes and len({*self.classes}) < max(2, len(self.classes)):
      checks.refuse(
        "model.head.classes must be at least two names, each once; got "
        f"{self.classes!r}"
      )
    for prompt in self.prompts:
      if prompt.count("{c}") != 1:
        checks.refuse(
          f"model.head.prompts must each have one {{c}}; got {prompt!r}"
        )


class Head(nnx.Module):
  """Parameters of an affine map of embeddings, all zeros at first; float32."""

  def __init__(self, embed_dim: int, num_classes: int):
    self.kernel = nnx.Param(jnp.zeros((embed_dim, num_classes)))
    self.bias = nnx.Param(jnp.zeros((num_classes,)))


def logits(head: Mapping[str, jax.Array], zimg_bE: jax.Array) -> jax.Array:
  """Return logits_bA of embeddings of length 1, by a head's parameters."""
  return zimg_bE @ head["kernel"] + head["bias"]
