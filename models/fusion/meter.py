"""METER (arXiv 2111.02387): both towers' tokens, fused by co-attention.

Florence's adapter of vision and language (arXiv 2111.11432, section 2.6) is
this model on its own image tower.
"""

import jax
from flax import nnx

from models import bert, dual_encoder, layers, swin, vit
from models.fusion import co_attention

# Random streams of a row.
_IMAGE, _TEXT, _FUSION = range(3)


class Meter(nnx.Module):
  """Image tower, text tower, co-attention and the heads of one task."""

  def __init__(
    self,
    config: co_attention.CoAttentionConfig,
    model: dual_encoder.ModelConfig,
    *,
    num_out: int,
    rngs: nnx.Rngs,
    batch_axes: tuple[str, ...] = (),
  ):
    """Make the parameters.

    Args:
      config: checked.
      model: model whose towers, a ViT or Swin and a BERT, are used up to their
        tokens.
      num_out: answers; 0 makes the heads of pre-training instead.
      rngs: random stream "params".
      batch_axes: as in stack.encode.
    """
    towers = dual_encoder.DualEncoder(model, rngs=rngs, batch_axes=batch_axes)
    img, txt = towers.img, towers.txt
    assert isinstance(img, vit.ViT | swin.Swin)  # checked with the config
    assert isinstance(txt, bert.Bert)
    # Parameters that pool a tower would be trained by weight decay alone.
    img.projection = txt.pooler = txt.projection = None
    if isinstance(img, vit.ViT):
      img.pool = None
      image_width = img.config.width
    else:
      image_width = img.config.widths[-1]
    self.img, self.txt = img, txt
    self.fusion = co_attention.CoAttention(
      config,
      text_width=txt.config.width,
      image_width=image_width,
      dtype=model.dtype,
      rngs=rngs,
      remat=model.remat,
    )
    self.heads = co_attention.Heads(
      config,
      vocab_size=txt.config.vocab_size,
      num_answers=num_out,
      dtype=model.dtype,
      rngs=rngs,
    )

  def __call__(
    self,
    images_bYXC: jax.Array,
    tokens_bL: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Return what `CoAttention` does of images and texts.

    Args:
      images_bYXC: uint8.
      tokens_bL: int32 ids, padded.
      keys_b: one key a row, used in training; None draws nothing.
    """

    def keys(stream: int) -> jax.Array | None:
      return None if keys_b is None else layers.fold_in(keys_b, stream)

    return self.fusion(
      self.txt.states(tokens_bL, keys(_TEXT)),
      _image_tokens(self.img, images_bYXC, keys(_IMAGE)),
      self.txt.mask(tokens_bL),
      keys(_FUSION),
    )


def _image_tokens(
  img: vit.ViT | swin.Swin, images_bYXC: jax.Array, keys_b: jax.Array | None
) -> jax.Array:
  """Return the last tokens of a tower, normalised, [b, N, D]."""
  if isinstance(img, vit.ViT):
    return img.tokens(images_bYXC, keys_b)
  x_bYXC = img.norm(img.pyramid(images_bYXC, keys_b)[-1])
  return x_bYXC.reshape(len(x_bYXC), -1, x_bYXC.shape[-1])
