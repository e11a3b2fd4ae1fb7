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
  # "cls", "gap", "map" (attention pooling) or "queries" (CoCa's).
  image.pool = "map"
  image.pre_norm = False  # CLIP normalises the tokens before layer 1
  image.projection = True  # linear map from width to embed_dim
  image.projection_bias = False
  image.norm_epsilon = 1e-6
  image.dropout = 0.0  # after attention and MLP of each layer
  # Share of patches left out in training, drawn for each image and step. FLIP
  # (arXiv 2212.00794): 0.5 and 0.75.
  image.patch_dropout = 0.0
  # Of pool="queries"; open_clip's CoCa has these.
  image.num_queries = 256
  image.pool_heads = 8
  return image


def resnet(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return the image tower of CLIP's RN50 (38.3 M parameters)."""
  image = ml_collections.ConfigDict()
  image.tower = "resnet"
  image.image_size = data.get_ref("image_size")  # a multiple of 32
  image.width = 64  # of the first stage, doubled in each that follows
  image.depths = (3, 4, 6, 3)  # blocks of each stage
  image.num_heads = 32  # of the attention pool, whose width is 32 x width
  _batch_norm(image)
  image.norm_epsilon = 1e-5  # PyTorch's defaults, as CLIP's code has them
  image.norm_momentum = 0.9
  return image


def _batch_norm(image: ml_collections.ConfigDict) -> None:
  # Images, one after the other in the batch, that are normalised together in
  # training; 0: the whole batch over all devices. It must divide a device's
  # images (of a micro-batch). ALIGN: 16, what a TPU core held (arXiv
  # 2102.05918, section 5.1: 16384 pairs on 1024 cores).
  image.batch_norm_group = 0
  image.norm_epsilon = 1e-3  # added to the variance
  # What is kept of the running statistics in each step; evaluation and frozen
  # towers normalise by these.
  image.norm_momentum = 0.99


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
  # "last" or "first" position, "eot" (the first token eot_id), "mean" over
  # tokens that are not padding, "map", or "cls" (CoCa's: a learned token behind
  # the caption).
  text.pool = "map"
  # Whether attention and pooling leave out padding. SigLIP pads and
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
