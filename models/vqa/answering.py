"""Models that answer questions about an image: MEVF's head and QCR's.

One visual object, the image tower's embedding beside the autoencoder's 64
features, meets the tokens of the question in bilinear attention. MEVF has one
head for all answers. QCR has one for closed questions and one for open ones,
multiplies each head's features by a vector of the question, and a router, which
sees the question alone, chooses the head.

Sources: PubMedCLIP (arXiv 2112.13906), MEVF (arXiv 1909.11867), QCR (ACM MM
2020), with what their released code adds.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import batch_norm, dual_encoder, layers
from models.vqa import autoencoder, bilinear, questions, recurrent, weight_norm
from runtime import checks, marks

# Kind of model -> names of its heads, by a question's type (0 closed, 1 open).
HEADS: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
  {"mevf": ("all",), "qcr": ("closed", "open")}
)
NUM_TYPES = 2


@dataclasses.dataclass(frozen=True)
class AnsweringConfig:
  """Fields of `config.vqa.model`; configs/base.py explains them."""

  kind: marks.Fixed[str] = "mevf"
  recurrent: marks.Fixed[str] = "lstm"
  width: marks.Fixed[int] = 1024
  word_width: marks.Fixed[int] = 300
  glimpses: marks.Fixed[int] = 2
  rank: marks.Fixed[int] = 3
  autoencoder_size: marks.Fixed[int] = 128

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    checks.one_of("vqa.model.kind", self.kind, HEADS)
    checks.one_of("vqa.model.recurrent", self.recurrent, recurrent.GATES)
    for field in ("width", "word_width", "glimpses", "rank"):
      checks.at_least(f"vqa.model.{field}", getattr(self, field), 1)
    size, stride = self.autoencoder_size, autoencoder.STRIDE
    if size < stride or size % stride:
      checks.refuse(
        f"vqa.model.autoencoder_size must be a multiple of {stride}; got {size}"
      )

  @property
  def heads(self) -> tuple[str, ...]:
    """Names of the heads."""
    return HEADS[self.kind]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outputs:
  """Rows of a batch, answered.

  Attributes:
    logits: head -> logits of its answers, [b, A] float32.
    route_bH: logits of the question's types, [b, 2] float32; None without a
      router, with one head.
    error_b: mean squared error of the autoencoder, [b] float32.
  """

  logits: dict[str, jax.Array]
  route_bH: jax.Array | None
  error_b: jax.Array


def make_router(
  config: AnsweringConfig, num_words: int, rngs: nnx.Rngs
) -> questions.QuestionVector:
  """Return the map of a question to logits of its type, [b, 2]."""
  # 1024 -> 256 -> 64 -> 2 in the released code.
  inner = (max(config.width // 4, 1), max(config.width // 16, 1))
  return _vector(config, (*inner, NUM_TYPES), num_words, rngs)


def _vector(
  config: AnsweringConfig,
  widths: tuple[int, ...],
  num_words: int,
  rngs: nnx.Rngs,
) -> questions.QuestionVector:
  return questions.QuestionVector(
    num_words, config.word_width, config.width, widths, rngs=rngs
  )


class Answering(nnx.Module):
  """Image tower, question encoder, heads and router."""

  def __init__(
    self,
    config: AnsweringConfig,
    towers: dual_encoder.ModelConfig,
    *,
    num_words: int,
    num_answers: Mapping[str, int],
    rngs: nnx.Rngs,
    batch_axes: tuple[str, ...] = (),
  ):
    """Make the parameters.

    Args:
      config: checked.
      towers: model whose image tower is used; its text tower is not made.
      num_words: words of the vocabulary.
      num_answers: head -> number of its answers.
      rngs: random stream "params".
      batch_axes: as in stack.encode.
    """
    towers = dataclasses.replace(towers, text=None)
    self.img = dual_encoder.DualEncoder(
      towers, rngs=rngs, batch_axes=batch_axes
    ).img
    self.autoencoder = autoencoder.Autoencoder(
      config.autoencoder_size, rngs=rngs
    )
    width = config.width
    self.words = questions.Words(
      num_words, config.word_width, num_tables=2, rngs=rngs
    )
    self.question = recurrent.Recurrent(
      config.recurrent, 2 * config.word_width, width, rngs=rngs
    )
    num_in = towers.embed_dim + autoencoder.NUM_FEATURES
    self.fusion = nnx.Dict(
      {
        head: bilinear.Bilinear(
          num_in,
          width,
          glimpses=config.glimpses,
          rank=config.rank,
          rngs=rngs,
        )
        for head in config.heads
      }
    )
    self.heads = nnx.Dict(
      {
        head: weight_norm.Classifier(width, num_answers[head], rngs=rngs)
        for head in config.heads
      }
    )
    is_routed = len(config.heads) > 1
    self.reasoning = (
      _vector(config, (2 * width, width, width), num_words, rngs)
      if is_routed
      else None
    )
    self.router = make_router(config, num_words, rngs) if is_routed else None
    self.config = config

  def __call__(
    self,
    images_bYXC: jax.Array,
    grey_bYX: jax.Array,
    tokens_bL: jax.Array,
    keys_b: jax.Array | None = None,
    stats: batch_norm.Statistics | None = None,
  ) -> Outputs:
    """Answer questions.

    Args:
      images_bYXC: uint8, for the image tower.
      grey_bYX: uint8, for the autoencoder.
      tokens_bL: int32 ids of words; those of num_words and above are padding.
      keys_b: one random key an example, for dropout; None in evaluation.
      stats: dict that receives new running statistics of an image tower with
        batch norm, in training; None otherwise.
    """

    def keys(value: int) -> jax.Array | None:
      return None if keys_b is None else layers.fold_in(keys_b, value)

    assert self.img is not None  # training/config.py refuses None
    args: tuple[Any, ...] = () if stats is None else (stats,)
    embedded_bE = self.img(images_bYXC, keys(0), *args).astype(jnp.float32)
    features_bE, error_b = self.autoencoder(grey_bYX)
    v_b1U = jnp.concatenate([embedded_bE, features_bE], axis=-1)[:, None]
    q_bLD = self.question(self.words(tokens_bL))
    reasoning_bD = None
    if self.reasoning is not None:
      reasoning_bD = self.reasoning(tokens_bL, keys(1))
    logits = {}
    for index, head in enumerate(self.config.heads):
      fused_bD = self.fusion[head](v_b1U, q_bLD, keys(3 + 2 * index))
      if reasoning_bD is not None:
        fused_bD *= reasoning_bD
      logits[head] = self.heads[head](fused_bD, keys(4 + 2 * index))
    route_bH = None
    if self.router is not None:
      route_bH = self.router(tokens_bL, keys(2))
    return Outputs(logits, route_bH, error_b)
