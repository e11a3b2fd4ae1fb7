"""EfficientNet as transformers keeps it: an image tower, or a classifier.

A classifier (EfficientNetForImageClassification) is read as a tower whose
projection is the classifier: its embedding, before normalisation, is the
logits, so that the largest value's index is the label.

The padding of transformers does not depend on the image's size: sizes are taken
to be even, except before the blocks that the config lists in depthwise_padding.
A published model is thus exact only at the size that it was made for.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from models import dual_encoder, efficientnet
from models.pretrained import mapping, opening
from models.pretrained.parts import conv_links, fresh, hf_json, torch_links

IGNORED = conv_links.IGNORED
_CLASSIFIER = "classifier.weight"
# Prefix of the names of a classifier's trunk.
_TRUNK = "efficientnet."
# Defaults for config.json: transformers 5.23, configuration_efficientnet.py.
_DEFAULTS: Mapping[str, Any] = types.MappingProxyType(
  {
    "num_channels": 3,
    "image_size": 600,
    "width_coefficient": 2.0,
    "depth_coefficient": 3.1,
    "depth_divisor": 8,
    "kernel_sizes": (3, 3, 5, 3, 5, 5, 3),
    "in_channels": (32, 16, 24, 40, 80, 112, 192),
    "out_channels": (16, 24, 40, 80, 112, 192, 320),
    "depthwise_padding": (),
    "strides": (1, 2, 2, 2, 1, 2, 1),
    "num_block_repeats": (1, 2, 2, 3, 3, 4, 1),
    "expand_ratios": (1, 6, 6, 6, 6, 6, 6),
    "squeeze_expansion_ratio": 0.25,
    "hidden_act": "swish",
    "hidden_dim": 2560,
    "pooling_type": "mean",
    "batch_norm_eps": 0.001,
    "drop_connect_rate": 0.2,
  }
)
# Widths of the first and the last convolution, not fields of config.json.
_STEM_WIDTH = 32
_HEAD_WIDTH = 1280
# Momentum of the paper's training (arXiv 1905.11946, section 5.2). The field of
# transformers' config is 0.99 too, but PyTorch's is the share that is replaced.
_NORM_MOMENTUM = 0.99
# Pixel statistics of the published models (transformers,
# convert_efficientnet_to_pytorch.py).
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_BLOCK: Mapping[str, str] = types.MappingProxyType(
  {
    "expand": "expansion.expand_conv",
    "expand_norm": "expansion.expand_bn",
    "depthwise": "depthwise_conv.depthwise_conv",
    "depthwise_norm": "depthwise_conv.depthwise_norm",
    "squeeze": "squeeze_excite.reduce",
    "excite": "squeeze_excite.expand",
    "project": "projection.project_conv",
    "project_norm": "projection.project_bn",
  }
)


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether config.json names this family."""
  return files.config.get("model_type") == "efficientnet"


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model: an image tower, its classifier as the projection.

  Raises:
    ValueError: a setting has a value that the tower here cannot express.
  """
  image = read_image(files.config, "config.json", has_head=True)
  embed_dim = image.out_width
  if _CLASSIFIER in files.tensors:
    embed_dim = files.tensors[_CLASSIFIER].shape[0]
    image = dataclasses.replace(image, projection=True, projection_bias=True)
  return fresh.make_model(
    embed_dim=embed_dim,
    image_mean=_MEAN,
    image_std=_STD,
    image=image,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  image = model.image
  assert isinstance(image, efficientnet.EfficientNetConfig)
  if not image.projection:
    return image_links(image, "")
  return (
    *image_links(image, _TRUNK),
    *torch_links.dense("img/projection", "classifier"),
  )


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the config.json of a model with an image tower only.

  Raises:
    ValueError: transformers' config cannot express a field.
  """
  hf_json.refuse_others("model.text", model.text, None)
  expected = {"tower": "efficientnet", "head_width": _HEAD_WIDTH}
  hf_json.refuse_others("model.image", model.image, expected)
  assert isinstance(model.image, efficientnet.EfficientNetConfig)
  config = {"model_type": "efficientnet", **written_image(model.image)}
  if not model.image.projection:
    return {**config, "architectures": ["EfficientNetModel"]}
  return {
    **config,
    "architectures": ["EfficientNetForImageClassification"],
    **hf_json.written_labels(model.embed_dim),
  }


def read_image(
  settings: Mapping[str, Any], section: str, *, has_head: bool
) -> efficientnet.EfficientNetConfig:
  """Return the config of the image tower.

  Args:
    settings: the tower's settings in config.json.
    section: name of the file or of its section, for messages.
    has_head: whether the tower has its last convolution; ALIGN leaves it out.
  """
  config: dict[str, Any] = {**_DEFAULTS, **settings}
  hf_json.expect(config, section, "num_channels", 3)
  hf_json.expect(config, section, "depth_divisor", 8)
  hf_json.expect(config, section, "pooling_type", "mean")
  hf_json.expect(config, section, "hidden_act", "swish", "silu")
  widths = list(config["out_channels"])
  if list(config["in_channels"]) != [_STEM_WIDTH, *widths[:-1]]:
    raise ValueError(
      f"{section}: in_channels must be {_STEM_WIDTH} followed by all but the"
      f" last of out_channels; got {config['in_channels']} with {widths}"
    )
  columns = (
    "num_block_repeats",
    "kernel_sizes",
    "strides",
    "expand_ratios",
    "out_channels",
  )
  if len({len(config[column]) for column in columns}) > 1:
    raise ValueError(
      f"{section}: {', '.join(columns)} must be of the same length; got"
      f" {', '.join(str(len(config[column])) for column in columns)}"
    )
  stages = zip(*(config[column] for column in columns), strict=True)
  image = efficientnet.EfficientNetConfig(
    tower="efficientnet",
    image_size=hf_json.integer(config, section, "image_size"),
    width_factor=float(config["width_coefficient"]),
    depth_factor=float(config["depth_coefficient"]),
    stem_width=_STEM_WIDTH,
    stages=tuple(stages),
    head_width=_HEAD_WIDTH if has_head else 0,
    fixed_ends=False,
    squeeze=float(config["squeeze_expansion_ratio"]),
    activation="swish",
    padding="even",
    square_blocks=tuple(config["depthwise_padding"]),
    projection=False,
    projection_bias=False,
    drop_path=float(config["drop_connect_rate"]),
    batch_norm_group=0,
    norm_epsilon=float(config["batch_norm_eps"]),
    norm_momentum=_NORM_MOMENTUM,
  )
  if has_head:
    hf_json.expect(config, section, "hidden_dim", image.out_width)
  return image


def written_image(image: efficientnet.EfficientNetConfig) -> dict[str, Any]:
  """Return the settings of the tower.

  Raises:
    ValueError: transformers' config cannot express a field.
  """
  fields = {
    "stem_width": _STEM_WIDTH,
    "fixed_ends": False,
    "activation": "swish",
    "padding": "even",
  }
  hf_json.refuse_others("model.image", image, fields)
  if not image.squeeze:
    raise ValueError("model.image.squeeze must be above 0 in this format")
  repeats, sizes, strides, expands, widths = zip(*image.stages, strict=True)
  return {
    "num_channels": 3,
    "image_size": image.image_size,
    "width_coefficient": image.width_factor,
    "depth_coefficient": image.depth_factor,
    "depth_divisor": 8,
    "kernel_sizes": list(sizes),
    "in_channels": [_STEM_WIDTH, *widths[:-1]],
    "out_channels": list(widths),
    "depthwise_padding": list(image.square_blocks),
    "strides": list(strides),
    "num_block_repeats": list(repeats),
    "expand_ratios": list(expands),
    "squeeze_expansion_ratio": image.squeeze,
    "hidden_act": "swish",
    "hidden_dim": image.out_width,
    "pooling_type": "mean",
    "batch_norm_eps": image.norm_epsilon,
    "drop_connect_rate": image.drop_path,
  }


def image_links(
  image: efficientnet.EfficientNetConfig, prefix: str
) -> tuple[mapping.Link, ...]:
  """Return the links of a tower whose names in the file begin with `prefix`."""
  encoder = f"{prefix}encoder"
  result = [
    *conv_links.conv("img/stem/conv", f"{prefix}embeddings.convolution"),
    *conv_links.norm("img/stem/norm", f"{prefix}embeddings.batchnorm"),
  ]
  for i, shape in enumerate(image.shapes):
    blocks = [f"{encoder}.blocks.{shape.start + j}" for j in range(shape.depth)]
    result += conv_links.inverted_blocks(
      f"img/stages/{i}", blocks, _BLOCK, expands=shape.expand > 1
    )
  if image.head_width:
    result += conv_links.conv("img/head/conv", f"{encoder}.top_conv")
    result += conv_links.norm("img/head/norm", f"{encoder}.top_bn")
  return tuple(result)
