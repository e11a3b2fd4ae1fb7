"""Every field of the towers, `config.model.image` and `config.model.text`.

A config that wants another tower than base.py's replaces the whole section:
`config.model.image = towers.NAME(config.data)`. Sizes of images and captions
follow `config.data`.
"""

import ml_collections

# Rules to put before base.py's, so that "fsdp" splits the convolutions of a
# ResNet or EfficientNet too, by output channel: in the late stages they are
# most of the parameters. Channels must be a multiple of mesh.fsdp.
CONV_PARTITION_RULES = (
  (
    r"img/stages/.*/(conv\d|shortcut|expand|depthwise|excite|project)/kernel",
    ("fsdp",),
  ),
)

# The same for the merging maps of a Swin, whose blocks base.py's rules split.
SWIN_PARTITION_RULES = (
  (r"img/stages/.*/downsample/(conv|dense)/kernel", ("fsdp",)),
)


def vit(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a Vision Transformer of 3.2 M parameters (with base.py's data)."""
  image = ml_collections.ConfigDict()
  image.tower = "vit"  # key of models.dual_encoder.IMAGE_TOWERS
  image.image_size = data.get_ref("image_size")
  image.patch_size = 8
  _layers(image, depth=6)
  image.position = "learned"  # or "sincos2d" (fixed; no parameters)
  # "cls", "gap", "map" (attention pooling) or "queries" (CoCa's).
  image.pool = "map"
  image.pre_norm = False  # CLIP normalises the tokens before layer 1
  # Share of patches left out in training, drawn for each image and step. FLIP
  # (arXiv 2212.00794): 0.5 and 0.75.
  image.patch_dropout = 0.0
  # Queries and heads of pool="queries"; the values of open_clip's CoCa.
  image.num_queries = 256
  image.pool_heads = 8
  return image


def resnet(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return the image tower of CLIP's RN50 (38.3 M parameters)."""
  image = ml_collections.ConfigDict()
  image.tower = "resnet"
  image.image_size = data.get_ref("image_size")  # a multiple of 32
  image.width = 64  # width of the first stage, doubled in each later one
  image.depths = (3, 4, 6, 3)  # blocks of each stage
  image.num_heads = 32  # heads of the attention pool, whose width is 32 x width
  _batch_norm(image)
  image.norm_epsilon = 1e-5  # PyTorch's defaults, as CLIP's code has them
  image.norm_momentum = 0.9
  return image


def efficientnet(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return EfficientNet-B0 without its classifier (4.0 M parameters).

  Factors of width and depth: B1 (1.0, 1.1), B2 (1.1, 1.2), B3 (1.2, 1.4), B4
  (1.4, 1.8), B5 (1.6, 2.2), B6 (1.8, 2.6), B7 (2.0, 3.1), L2 (4.3, 5.3)
  (arXiv 1905.11946; tensorflow/tpu, efficientnet_builder.py).
  """
  image = ml_collections.ConfigDict()
  image.tower = "efficientnet"
  image.image_size = data.get_ref("image_size")
  image.width_factor = 1.0
  image.depth_factor = 1.0
  # Channels of the first convolution, then (repeats, kernel size, stride,
  # expansion, channels) of each stage, before scaling; table 1 of the paper.
  image.stem_width = 32
  image.stages = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
  )
  # Channels of the last 1x1 convolution, before scaling; 0: none, as in ALIGN.
  image.head_width = 1280
  # Lite: stem and head are not scaled, the outer stages no deeper.
  image.fixed_ends = False
  # Width of squeeze-and-excitation over the block's input; 0 (Lite): none.
  image.squeeze = 0.25
  image.activation = "swish"  # key of models.layers.ACTIVATIONS; Lite: "relu6"
  # "same" (TensorFlow's padding, by the image's size) or "even" (that of even
  # sizes, for any size: models of transformers). With "even", the blocks in
  # square_blocks, counted from 0, have padding "square".
  image.padding = "same"
  image.square_blocks = ()
  image.projection = True  # linear map from the pooled channels to embed_dim
  image.projection_bias = False
  # Probability that a block is left out for an image in training, for the last
  # block; it rises from 0 along the tower (arXiv 1905.11946, section 5.2).
  image.drop_path = 0.2
  _batch_norm(image)
  return image


def convnext(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return the image tower of open_clip's convnext_base (88.1 M parameters)."""
  image = ml_collections.ConfigDict()
  image.tower = "convnext"
  image.image_size = data.get_ref("image_size")
  image.depths = (3, 3, 27, 3)  # blocks of each stage
  image.widths = (128, 256, 512, 1024)
  # Map to embed_dim: "linear" or "mlp" (open_clip's _d models).
  image.head = "linear"
  image.head_bias = False
  image.norm_epsilon = 1e-6
  image.drop_path = 0.1  # as in EfficientNet; open_clip's timm_drop_path
  return image


def swin(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return Swin-T with a projection (27.5 M parameters and those of it)."""
  image = ml_collections.ConfigDict()
  image.tower = "swin"
  image.image_size = data.get_ref("image_size")
  # Embedding of pixels and merging of tokens: "patch" (four by four pixels, two
  # by two tokens, no overlap; Swin) or "conv" (7x7 and 3x3 convolutions that
  # overlap; CoSwin).
  image.embedding = "patch"
  image.merging = "patch"
  # Each stage: channels, blocks, heads, and side of a window in tokens. The
  # grid has image_size / 4 tokens in a row, and half as many in each stage. A
  # window that is as large as the grid or larger is the whole grid.
  image.widths = (96, 192, 384, 768)
  image.depths = (2, 2, 6, 2)
  image.num_heads = (3, 6, 12, 24)
  image.windows = (7, 7, 7, 7)
  image.mlp_ratio = 4.0  # width of the MLP over that of the stage
  image.activation = "gelu"  # key of models.layers.ACTIVATIONS
  # Whether tokens ignore the padding of a grid that windows do not divide.
  # Swin's code for detection and transformers' models attend to it.
  image.mask_padding = True
  image.projection = True  # linear map from the last width to embed_dim
  image.projection_bias = False
  image.norm_epsilon = 1e-5
  # Probability that a branch of a block is left out for an image in training,
  # for the last block; it rises from 0 along the tower.
  image.drop_path = 0.2
  return image


def _layers(tower: ml_collections.ConfigDict, *, depth: int) -> None:
  """Set the fields that all transformer towers have."""
  tower.width = 192
  tower.depth = depth
  tower.num_heads = 3
  tower.mlp_width = 768
  tower.activation = "gelu_tanh"  # key of models.layers.ACTIVATIONS
  tower.projection = True  # linear map from width to embed_dim
  tower.projection_bias = False
  tower.norm_epsilon = 1e-6
  tower.dropout = 0.0  # after attention and MLP of each layer


def _batch_norm(image: ml_collections.ConfigDict) -> None:
  # Number of images, neighbours in the batch, that are normalised together in
  # training; 0 for the whole batch over all devices. It must divide a device's
  # images (of a micro-batch). ALIGN: 16, the images of a TPU core (arXiv
  # 2102.05918, section 5.1: 16384 pairs on 1024 cores).
  image.batch_norm_group = 0
  image.norm_epsilon = 1e-3  # added to the variance
  # Share of the running statistics kept in each step; evaluation and frozen
  # towers normalise by them.
  image.norm_momentum = 0.99


def text_transformer(
  data: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Return a text transformer of 2.7 M parameters (with base.py's data)."""
  text = ml_collections.ConfigDict()
  text.tower = "transformer"  # key of models.dual_encoder.TEXT_TOWERS
  text.vocab_size = data.get_ref("vocab_size")
  text.num_tokens = data.get_ref("num_tokens")
  text.pad_id = 0  # padding of data.tokenizer
  text.eot_id = 1  # end of text of data.tokenizer
  _layers(text, depth=4)
  text.causal = False
  # "last" or "first" position, "eot" (the first token eot_id), "argmax" (the
  # first token of the highest id: OpenAI's rule), "mean" over tokens that are
  # not padding, "map", or "cls" (CoCa's: a learned token behind the caption).
  text.pool = "map"
  # Mask padding in attention and pooling. SigLIP pads and attends to all
  # positions; CLIP's causal tower needs no mask.
  text.mask_padding = True
  return text


def naflex(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a ViT for images of any shape, SigLIP 2's, of 3.2 M parameters.

  With data.augmentation.resize="naflex" images keep their shape; square ones
  of image_size have a shape too.
  """
  image = ml_collections.ConfigDict()
  image.tower = "naflex"
  image.image_size = data.get_ref("image_size")
  # Set in data.augmentation, where images are cut into patches.
  image.patch_size = data.augmentation.get_ref("patch_size")
  image.max_num_patches = data.augmentation.get_ref("max_num_patches")
  # Side of the table of positions, which is resized to each image; SigLIP 2's
  # value.
  image.position_size = 16
  _layers(image, depth=6)
  return image


def bert(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a BERT of 2.2 M parameters (with base.py's data).

  The tokenizer must put [CLS] first. Published models have a dropout of 0.1.
  """
  text = ml_collections.ConfigDict()
  text.tower = "bert"
  text.vocab_size = data.get_ref("vocab_size")
  text.num_tokens = data.get_ref("num_tokens")
  text.num_types = 2  # token types of published weights; captions have type 0
  _layers(text, depth=4)
  text.activation = "gelu"
  # "cls" (the first token; ALIGN), "pooler" (tanh of an affine map of it) or
  # "mean" over tokens that are not padding (sentence-transformers).
  text.pool = "cls"
  text.pad_id = 0  # masked in attention
  text.projection_bias = True
  text.norm_epsilon = 1e-12
  return text
