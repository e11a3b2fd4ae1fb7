"""Every field of the towers, `config.model.image` and `config.model.text`.

A config that wants another tower than base.py's replaces the whole section:
`config.model.image = towers.NAME(config.data)`. Sizes of images and captions
follow `config.data`.
"""

import ml_collections


def vit(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a Vision Transformer of 3.2 M parameters (with base.py's data)."""
  image = ml_collections.ConfigDict()
  image.tower = "vit"  # key of models.dual_encoder.IMAGE_TOWERS
  image.image_size = data.get_ref("image_size")
  image.patch_size = 8
  image.width = 192
  image.depth = 6
  image.num_heads = 3
  image.mlp_width = 768
  image.activation = "gelu_tanh"  # key of models.layers.ACTIVATIONS
  image.position = "learned"  # or "sincos2d" (fixed; no parameters)
  image.pool = "map"  # "cls", "gap" or "map" (attention pooling)
  image.pre_norm = False  # CLIP normalises the tokens before layer 1
  image.projection = True  # linear map from width to embed_dim
  image.projection_bias = False
  image.norm_epsilon = 1e-6
  image.dropout = 0.0  # after attention and MLP of each layer
  # Share of patches left out in training, drawn for each image and step. FLIP
  # (arXiv 2212.00794): 0.5 and 0.75.
  image.patch_dropout = 0.0
  return image


def text_transformer(
  data: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Return a text transformer of 2.7 M parameters (with base.py's data)."""
  text = ml_collections.ConfigDict()
  text.tower = "transformer"  # key of models.dual_encoder.TEXT_TOWERS
  text.vocab_size = data.get_ref("vocab_size")
  text.num_tokens = data.get_ref("num_tokens")
  text.pad_id = 0  # fills up captions; data.tokenizer's
  text.eot_id = 1  # ends captions; data.tokenizer's
  text.width = 192
  text.depth = 4
  text.num_heads = 3
  text.mlp_width = 768
  text.activation = "gelu_tanh"
  text.causal = False
  # "last" or "first" position, "eot" (the last token that is not padding),
  # "mean" over tokens that are not padding, or "map".
  text.pool = "map"
  # Whether attention and pooling leave out padding (id 0). SigLIP pads and
  # attends to all positions; CLIP's causal tower needs no mask.
  text.mask_padding = True
  text.projection = True
  text.projection_bias = False
  text.norm_epsilon = 1e-6
  text.dropout = 0.0
  return text


def naflex(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a ViT for images of any shape, SigLIP 2's, of 3.2 M parameters.

  Square images, as the input pipeline makes them, have a shape too.
  """
  image = ml_collections.ConfigDict()
  image.tower = "naflex"
  image.image_size = data.get_ref("image_size")
  image.patch_size = 8
  # What images cut by input_pipeline/naflex.py are resized for and filled up
  # to; square images of image_size are not. SigLIP 2: 256.
  image.max_num_patches = 256
  # Side of the table of positions, which is resized to each image. SigLIP 2's.
  image.position_size = 16
  image.width = 192
  image.depth = 6
  image.num_heads = 3
  image.mlp_width = 768
  image.activation = "gelu_tanh"
  image.projection = True
  image.projection_bias = False
  image.norm_epsilon = 1e-6
  image.dropout = 0.0
  return image


def bert(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a BERT of 2.2 M parameters (with base.py's data).

  For a tokenizer that puts [CLS] first. Published ones have a dropout of 0.1.
  """
  text = ml_collections.ConfigDict()
  text.tower = "bert"
  text.vocab_size = data.get_ref("vocab_size")
  text.num_tokens = data.get_ref("num_tokens")
  text.num_types = 2  # token types of published weights; captions have type 0
  text.width = 192
  text.depth = 4
  text.num_heads = 3
  text.mlp_width = 768
  text.activation = "gelu"
  # "cls" (the first token; ALIGN), "pooler" (tanh of an affine map of it) or
  # "mean" over tokens that are not padding (sentence-transformers).
  text.pool = "cls"
  text.pad_id = 0  # never looked at
  text.projection = True
  text.projection_bias = True
  text.norm_epsilon = 1e-12
  text.dropout = 0.0
  return text
