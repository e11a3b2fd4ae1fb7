"""CoCa's captioner: logits of words from an image and the text tower's tokens.

The text tower is causal and reads no image; its tokens, before the last norm,
go on here. A layer is two transformer blocks: one over the text, one whose
queries are the text and whose keys are the image's tokens, those that the image
tower's pooling makes with all queries but the first.

Sources: CoCa (arXiv 2205.01917), section 3.2, in the form of open_clip 3.3.0
(coca_ViT-B-32, coca_ViT-L-14): both blocks have an MLP, and no position is
added here. models/decoding/captions.py generates with it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower
from runtime import checks, marks


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
  """Fields of a captioner; the defaults are open_clip's of coca_ViT-B-32.

  Attributes:
    depth: layers, of two blocks each.
    width: width of a token; the text tower's, and the length of an embedding.
    num_heads: heads of each attention.
    mlp_width: hidden width of each MLP; four times the width in open_clip.
    activation: key of layers.ACTIVATIONS.
    norm_epsilon: epsilon of the norms.
    vocab_size: words that are predicted.
    num_tokens: most tokens of a text.
  """

  depth: marks.Fixed[int] = 12
  width: marks.Fixed[int] = 512
  num_heads: marks.Fixed[int] = 8
  mlp_width: marks.Fixed[int] = 2048
  activation: marks.Fixed[str] = "gelu"
  norm_epsilon: marks.Fixed[float] = 1e-5
  vocab_size: marks.Fixed[int] = 49_408
  num_tokens: marks.Fixed[int] = 76

  @checks.collected()
  def check(self, section: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used.

    Args:
      section: section of the config that has these fields.
    """
    for field in ("depth", "width", "num_heads", "mlp_width", "num_tokens"):
      checks.at_least(f"{section}.{field}", getattr(self, field), 1)
    if self.width % max(self.num_heads, 1):
      checks.refuse(
        f"{section}.width must be a multiple of {section}.num_heads; got"
        f" {self.width} and {self.num_heads}"
      )
    checks.one_of(f"{section}.activation", self.activation, layers.ACTIVATIONS)
    checks.above(f"{section}.norm_epsilon", self.norm_epsilon, 0)
    checks.at_least(f"{section}.vocab_size", self.vocab_size, 2)


class CrossBlock(nnx.Module):
  """Transformer block whose keys are an image's tokens, normalised apart."""

  def __init__(self, config: CaptionerConfig, *, dtype: str, rngs: nnx.Rngs):
    width = config.width
    norm = functools.partial(
      layers.LayerNorm, width, epsilon=config.norm_epsilon, dtype=dtype
    )
    self.attn_norm = norm()
    self.key_norm = norm()
    self.attn = layers.Attention(
      width, config.num_heads, dtype=dtype, rngs=rngs
    )
    self.mlp_norm = norm()
    self.mlp = layers.Mlp(
      width,
      config.mlp_width,
      activation=config.activation,
      dtype=dtype,
      rngs=rngs,
    )

  def keys_values(self, image_bND: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return keys and values of an image's tokens, [b, H, N, K] each."""
    return self.attn.keys_values(self.key_norm(image_bND))

  def attend_to(
    self, x_bLD: jax.Array, key_bHNK: jax.Array, value_bHNK: jax.Array
  ) -> jax.Array:
    """Return the text's tokens after this block, from `keys_values`.

    Args:
      x_bLD: tokens of texts; r = b * n rows are n texts of each image.
      key_bHNK: keys of b images.
      value_bHNK: their values.
    """
    # Texts of an image are queries of one attention: no key is repeated.
    y_bLD = self.attn_norm(x_bLD).reshape(len(key_bHNK), -1, x_bLD.shape[2])
    y_bLD = self.attn.attend_to(y_bLD, key_bHNK, value_bHNK)
    x_bLD = x_bLD + y_bLD.reshape(x_bLD.shape)
    return x_bLD + self.mlp(self.mlp_norm(x_bLD))


class CaptionerBlock(nnx.Module):
  """Layer: a block over the text, then a block that reads the image."""

  def __init__(self, config: CaptionerConfig, *, dtype: str, rngs: nnx.Rngs):
    self.text = stack.Block(
      config.width,
      config.num_heads,
      config.mlp_width,
      activation=config.activation,
      norm_epsilon=config.norm_epsilon,
      dtype=dtype,
      rngs=rngs,
    )
    self.image = CrossBlock(config, dtype=dtype, rngs=rngs)

  def __call__(
    self,
    x_bLD: jax.Array,
    *,
    image_bND: jax.Array,
    mask_bHSS: jax.Array | None = None,
    is_causal: bool = False,
    token_b: jax.Array | None = None,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the text's tokens after this layer, as stack.encode calls it.

    Args:
      x_bLD: tokens of the text.
      image_bND: tokens of the image.
      mask_bHSS: as in layers.Attention, for the text.
      is_causal: as in layers.Attention, for the text.
      token_b: None; each token is computed.
      keys_b: unused; nothing is drawn.
    """
    assert token_b is None
    del keys_b
    x_bLD = self.text(x_bLD, mask_bHSS=mask_bHSS, is_causal=is_causal)
    return self.image.attend_to(x_bLD, *self.image.keys_values(image_bND))


class Captioner(nnx.Module):
  """Tokens of texts and of images to features of which words are predicted."""

  def __init__(
    self,
    config: CaptionerConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    """Make the parameters.

    Args:
      config: checked.
      settings: dtype, remat, remat_chunks and batch_axes are used.
      rngs: random stream "params".
    """
    self.blocks = stack.make_stack(
      lambda rngs: CaptionerBlock(config, dtype=settings.dtype, rngs=rngs),
      config.depth,
      rngs,
    )
    self.norm = layers.LayerNorm(
      config.width, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    init = jax.nn.initializers.normal(config.width**-0.5)
    self.words = nnx.Param(
      init(rngs.params(), (config.vocab_size, config.width))
    )
    self.config = config
    self.settings = settings

  def states(self, text_bLD: jax.Array, image_bND: jax.Array) -> jax.Array:
    """Return the features of each place, [b, L, D], of which words follow.

    Args:
      text_bLD: tokens of the text tower before its last norm, L at most
        num_tokens.
      image_bND: tokens of the images after the pooling.

    Raises:
      ValueError: a text is longer than num_tokens.
    """
    self.check_length(text_bLD.shape[1])
    return stack.encode(
      {"text": text_bLD, "image": image_bND},
      stem=lambda rows: rows["text"].astype(self.settings.dtype),
      blocks=self.blocks,
      head=lambda x_bLD, rows: self.norm(x_bLD),
      **self.settings.encode_args,
      is_causal=True,
      extras_fn=lambda rows: {"image_bND": rows["image"]},
    )

  def logits(self, x_bLD: jax.Array) -> jax.Array:
    """Return the logits of all words, [b, L, V] float32.

    A loss needs losses/vocabulary.py instead, which never holds all of them.
    """
    return jnp.einsum(
      "bld,vd->blv",
      x_bLD,
      self.words[...].astype(x_bLD.dtype),
      preferred_element_type=jnp.float32,
    )

  def check_length(self, length: int) -> None:
    """Raise ValueError for texts longer than num_tokens."""
    if length > self.config.num_tokens:
      raise ValueError(
        f"texts must have at most num_tokens={self.config.num_tokens} tokens;"
        f" got {length}"
      )
