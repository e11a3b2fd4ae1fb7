"""Captioning loss of CoCa (arXiv 2205.01917), in the form of open_clip's.

Each token of a caption behind the first is predicted from those before it and
from the image; padding is not predicted. As in open_clip's CoCaLoss all ids
equal to the padding's are left out, also inside a caption.
"""

import jax
import jax.numpy as jnp

from losses import vocabulary
from models import dual_encoder, layers, text_transformer, vit
from models.decoding import captioner as captioner_lib
from runtime import mesh as mesh_lib

# Axes of the mesh, as configs/parts/captioning.py splits the vectors of words.
_AXES = vocabulary.Axes(mesh_lib.BATCH_AXES, words="tensor", width="fsdp")


def encode(
  model: dual_encoder.DualEncoder,
  images_bYXC: jax.Array,
  tokens_bL: jax.Array,
  keys_b: jax.Array | None,
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
  """Return embeddings of pairs, and the tokens that a captioner reads.

  Args:
    model: model whose image tower pools with queries.
    images_bYXC: uint8 images.
    tokens_bL: int32 ids of their captions.
    keys_b: one random key a row, used as DualEncoder does; None draws nothing.

  Returns:
    (zimg_bE, ztxt_bE), float32 with L2 norm 1, and (image_bND, text_bLD).
  """
  image, text = model.img, model.txt
  assert isinstance(image, vit.ViT)
  assert isinstance(text, text_transformer.TextTransformer)
  zimg_bE, image_bND = image.embedding_and_queries(images_bYXC, keys_b)
  keys_b = None if keys_b is None else layers.fold_in(keys_b, 1)
  ztxt_bE, text_bLD = text.embedding_and_tokens(tokens_bL, keys_b)
  embeddings = (
    dual_encoder.l2_normalise(zimg_bE),
    dual_encoder.l2_normalise(ztxt_bE),
  )
  return embeddings, (image_bND, text_bLD)


def losses_of_rows(
  captioner: captioner_lib.Captioner,
  image_bND: jax.Array,
  text_bLD: jax.Array,
  tokens_bL: jax.Array,
  pad_id: int,
) -> tuple[jax.Array, jax.Array]:
  """Return the sum of a row's losses, and the number of its targets.

  Args:
    captioner: captioner to train.
    image_bND: result of `encode`.
    text_bLD: result of `encode`.
    tokens_bL: int32 ids of the captions.
    pad_id: id that is not predicted.

  Returns:
    float32 [b] each.
  """
  target_bL = tokens_bL[:, 1:]
  counts_bL = target_bL != pad_id
  losses_bL = vocabulary.cross_entropy(
    captioner.states(text_bLD[:, :-1], image_bND),
    captioner.words[...],
    jnp.where(counts_bL, target_bL, vocabulary.IGNORED),
    axes=_AXES,
  )
  return (
    jnp.sum(jnp.where(counts_bL, losses_bL, 0.0), axis=1),
    jnp.sum(counts_bL.astype(jnp.float32), axis=1),
  )
