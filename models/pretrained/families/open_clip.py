"""Models of open_clip 3.3: CLIP's towers, ConvNeXt, CoCa, SigLIP.

open_clip_config.json describes the model. A file without one is read as a CLIP
with open_clip's defaults: GELU, heads as in its model_configs, the highest id
as the end of text. The tensors do not show whether it was trained with another
activation or number of heads: these are said, and can be given behind the path.

The two towers of a CoCa are read; its captioner (text_decoder) embeds nothing
and is left out; fused/open_clip_coca.py has the whole model. Without it a CoCa
is exported as open_clip's CustomTextCLIP with the same towers.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from models import convnext, dual_encoder, resnet, text_transformer, vit
from models.pretrained import forms, mapping, opening, pixels
from models.pretrained.families import open_clip_config
from models.pretrained.parts import (
  clip_resnet,
  clip_transformers,
  openai_names,
  timm_convnext,
  timm_siglip,
  timm_trunk,
)

IGNORED = (r"text_decoder\..*", r"(.*\.)?attn_mask", *clip_resnet.IGNORED)

# Head widths other than 64 by image width: H, g, bigG, e (its model_configs).
_HEAD_WIDTHS: Mapping[int, int] = types.MappingProxyType(
  {1280: 80, 1408: 88, 1664: 104, 1792: 112}
)


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether a file is open_clip's, by its config or else its names."""
  if files.config:
    return "model_cfg" in files.config
  return (
    "logit_scale" in files.tensors
    and f"{_prefix(files.tensors)}token_embedding.weight" in files.tensors
    and not any(name in files.tensors for name in openai_names.ARCHIVE_ONLY)
  )


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model that open_clip_config.json or the shapes describe.

  Raises:
    ValueError: a field or its value is not supported; or there is no
      open_clip_config.json and the image tower is not open_clip's own Vision
      Transformer.
  """
  tensors = files.tensors
  has_bias = "logit_bias" in tensors
  preprocess = pixels.said(files.config.get("preprocess_cfg"))
  fields = {
    "scale_init": mapping.scale(tensors, "logit_scale"),
    "bias_init": mapping.number(tensors, "logit_bias") if has_bias else 0.0,
    "image_mean": pixels.triple(
      preprocess.get("mean", clip_transformers.PIXEL_MEAN)
    ),
    "image_std": pixels.triple(
      preprocess.get("std", clip_transformers.PIXEL_STD)
    ),
  }
  if not files.config:
    return clip_transformers.make_model(*_from_shapes(files), **fields)
  config = files.config["model_cfg"]
  open_clip_config.check(config)
  return clip_transformers.make_model(
    config["embed_dim"],
    _read_image(files.config, tensors),
    open_clip_config.read_text(config),
    **fields,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file.

  Names of the text tower begin with "text." in open_clip's CustomTextCLIP and
  CoCa; names with and without it are read.
  """
  result = [
    mapping.link("log_scale", "logit_scale", forms.NUMBER),
    mapping.link("bias", "logit_bias", forms.NUMBER, default=0.0),
  ]
  image, text = model.image, model.text
  if isinstance(image, resnet.ResNetConfig):
    result += clip_resnet.links(image)
  elif isinstance(image, convnext.ConvNeXtConfig):
    result += timm_convnext.links(image)
  elif isinstance(image, vit.ViTConfig) and image.pool == "map":
    result += timm_siglip.links(image)
  elif isinstance(image, vit.ViTConfig):
    result += openai_names.image_links(image, model.embed_dim)
  if isinstance(text, text_transformer.TextTransformerConfig):
    prefixes = (
      ("text.", "") if open_clip_config.is_custom(text) else ("", "text.")
    )
    written, otherwise = (openai_names.text_links(text, x) for x in prefixes)
    result += [
      dataclasses.replace(entry, also=(other.theirs,))
      for entry, other in zip(written, otherwise, strict=True)
    ]
  return tuple(result)


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the content of open_clip_config.json.

  Raises:
    ValueError: open_clip_config.json cannot express a field.
  """
  image = model.image
  config = {
    "model_cfg": open_clip_config.write(model),
    "preprocess_cfg": {
      "mean": list(model.image_mean),
      "std": list(model.image_std),
    },
  }
  described = None
  if isinstance(image, convnext.ConvNeXtConfig):
    described = timm_convnext.describe_image(image)
  elif isinstance(image, vit.ViTConfig) and image.pool == "map":
    described = timm_siglip.describe_image(image)
  return config | ({timm_trunk.KEY: described} if described else {})


def _prefix(tensors: mapping.Tensors) -> str:
  return "text." if "text.token_embedding.weight" in tensors else ""


def _from_shapes(
  files: opening.PublishedFiles,
) -> tuple[int, vit.ViTConfig, text_transformer.TextTransformerConfig]:
  tensors = files.tensors
  if "visual.conv1.weight" not in tensors or "visual.proj" not in tensors:
    raise ValueError(
      "open_clip_config.json must lie beside this file: its image tower is not"
      " open_clip's own Vision Transformer"
    )
  prefix = _prefix(tensors)
  width = len(tensors["visual.conv1.weight"])
  image = openai_names.image_sizes(tensors, _HEAD_WIDTHS.get(width, 64))
  text = openai_names.text_sizes(tensors, prefix)
  has_queries = "visual.attn_pool.query" in tensors
  chosen = opening.choose(
    files,
    {
      "activation": "gelu",
      "image_heads": image["num_heads"],
      "text_heads": text["num_heads"],
      **({"pool_heads": 8} if has_queries else {}),
    },
  )
  image["num_heads"], text["num_heads"] = (
    chosen["image_heads"],
    chosen["text_heads"],
  )
  shared = {
    "activation": chosen["activation"],
    "norm_epsilon": clip_transformers.NORM_EPSILON,
  }
  if has_queries:
    image["pool"] = "queries"
    image["num_queries"] = len(tensors["visual.attn_pool.query"])
    image["pool_heads"] = chosen["pool_heads"]
  if f"{prefix}cls_emb" in tensors:
    text |= open_clip_config.COCA_TEXT | {"num_tokens": text["num_tokens"] - 1}
  return (
    tensors["visual.proj"].shape[1],
    clip_transformers.make_image(**image, **shared),
    clip_transformers.make_text(
      **clip_transformers.highest_id(text["vocab_size"]) | text, **shared
    ),
  )


def _read_image(
  config: Mapping[str, Any], tensors: mapping.Tensors
) -> dual_encoder.ImageConfig:
  model_cfg = config["model_cfg"]
  vision_cfg = model_cfg["vision_cfg"]
  if clip_resnet.recognises_image(tensors):
    return clip_resnet.read_image(tensors)[0]
  if timm_convnext.recognises_image(tensors):
    args = timm_trunk.read_args(config, timm_convnext.ARGS)
    return timm_convnext.read_image(tensors, vision_cfg, args)[0]
  if timm_siglip.recognises_image(tensors):
    args = timm_trunk.read_args(config, timm_siglip.ARGS)
    return timm_siglip.read_image(vision_cfg, args)
  return open_clip_config.read_image(model_cfg)
