"""CLIP and MetaCLIP 2 as transformers keeps them: CLIPModel, MetaClip2Model.

The fields of config.json that those classes read are read here; a field left
out has the classes' default (transformers 5.23). Files of one tower (such as
CLIPTextModelWithProjection) are models of one tower.
"""

import math
import types
from collections.abc import Mapping
from typing import Any

from models import dual_encoder, text_transformer, vit
from models.pretrained import forms, mapping, opening, positions
from models.pretrained.parts import clip_transformers, hf_json, torch_links

# Buffers in files of older versions.
IGNORED = (r".*\.position_ids",)

_METACLIP_2 = "metaclip_2"
_FAMILIES = ("clip", _METACLIP_2)
_TEXT_KIND, _IMAGE_KIND = "_text_model", "_vision_model"
_BOTH: Mapping[str, Any] = types.MappingProxyType(
  {
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "num_hidden_layers": 12,
    "projection_dim": 512,
  }
)
_TEXT: Mapping[str, Any] = types.MappingProxyType(
  {
    **_BOTH,
    "vocab_size": 49_408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "pad_token_id": 1,
    "eos_token_id": 49_407,
  }
)
_IMAGE: Mapping[str, Any] = types.MappingProxyType(
  {
    **_BOTH,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
  }
)
_IDS = ("pad_token_id", "eos_token_id")
# Wrong value in the first published configs of CLIP: with it, transformers
# pools the token of the highest id, be it the end of text or not.
_OLD_EOS = 2


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether config.json names this family."""
  return _kind(files)[0] in _FAMILIES


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model that config.json describes.

  Raises:
    ValueError: a field, named in the message, has an unsupported value.
  """
  family, one_tower = _kind(files)
  config = files.config
  image = text = None
  scale = clip_transformers.SCALE_INIT
  embed_dim = hf_json.integer(
    {**_BOTH, **config}, "config.json", "projection_dim"
  )
  if not one_tower:
    scale = mapping.scale(files.tensors, "logit_scale")
  if one_tower != _IMAGE_KIND:
    section = _section(config, _TEXT, "" if one_tower else "text_config")
    has_projection = not one_tower or "text_projection.weight" in files.tensors
    text = _read_text(section, family, has_projection)
    embed_dim = embed_dim if has_projection else text.width
  if one_tower != _TEXT_KIND:
    section = _section(config, _IMAGE, "" if one_tower else "vision_config")
    has_projection = (
      not one_tower or "visual_projection.weight" in files.tensors
    )
    image = _read_image(section, has_projection)
    embed_dim = embed_dim if has_projection else image.width
  return clip_transformers.make_model(embed_dim, image, text, scale_init=scale)


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  whole = model.image is not None and model.text is not None
  result = [
    mapping.link("log_scale", "logit_scale", forms.NUMBER)
    if whole
    else mapping.link("log_scale", default=math.log(model.scale_init)),
    mapping.link("bias", default=0.0),
  ]
  if isinstance(model.image, vit.ViTConfig):
    result += _image_links(model.image)
  if isinstance(model.text, text_transformer.TextTransformerConfig):
    result += _text_links(model.text)
  if whole:
    return tuple(result)
  # Names of CLIPTextModel and CLIPVisionModel since transformers 5.
  return mapping.spelled(result, lambda name: name.partition("_model.")[2])


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the content of config.json, for a model with both towers.

  Raises:
    ValueError: transformers' CLIPModel cannot express a field.
  """
  image, text = model.image, model.text
  is_old = getattr(text, "pool", None) == "argmax"
  pool = "argmax" if is_old else "eot"
  clip_transformers.refuse(
    "transformers' CLIPModel",
    clip_transformers.unlike_image(image, projection=True)
    + clip_transformers.unlike_text(text, projection=True, pool=pool)
    + clip_transformers.unlike("model", model, {"bias_init": 0.0}),
  )
  assert isinstance(image, vit.ViTConfig)
  assert isinstance(text, text_transformer.TextTransformerConfig)
  # CLIPModel mistakes this end of text for the wrong value of old configs.
  eot_id = _OLD_EOS if is_old else text.eot_id
  family = "clip" if is_old or eot_id != _OLD_EOS else _METACLIP_2
  class_name = "MetaClip2Model" if family == _METACLIP_2 else "CLIPModel"
  return {
    "architectures": [class_name],
    "model_type": family,
    "dtype": "float32",
    "projection_dim": model.embed_dim,
    "logit_scale_init_value": math.log(model.scale_init),
    "text_config": {
      "model_type": family + _TEXT_KIND,
      "vocab_size": text.vocab_size,
      "max_position_embeddings": text.num_tokens,
      "bos_token_id": None,  # the towers do not look for it
      "pad_token_id": text.pad_id,
      "eos_token_id": eot_id,
      **_write_sizes(text, model.embed_dim),
    },
    "vision_config": {
      "model_type": family + _IMAGE_KIND,
      "image_size": image.image_size,
      "patch_size": image.patch_size,
      "num_channels": 3,
      **_write_sizes(image, model.embed_dim),
    },
  }


def _kind(files: opening.PublishedFiles) -> tuple[str, str]:
  """Return the family, and the kind of its only tower ("" for two towers)."""
  model_type = files.config.get("model_type", "")
  for one_tower in (_TEXT_KIND, _IMAGE_KIND):
    if model_type.endswith(one_tower):
      return model_type.removesuffix(one_tower), one_tower
  return model_type, ""


def _section(
  config: Mapping[str, Any], defaults: Mapping[str, Any], name: str
) -> dict[str, Any]:
  """Return the fields of a tower by their names in config.json.

  Old files have each section twice; transformers reads "text_config_dict".
  """
  fields = config
  if name:
    fields = config.get(f"{name}_dict")
    fields = config.get(name) if fields is None else fields
  values = {**defaults, **(fields or {})}
  label = name or "config.json"
  hf_json.expect(values, label, "hidden_act", *hf_json.ACTIVATIONS)
  if "num_channels" in defaults:
    hf_json.expect(values, label, "num_channels", 3)
  for field, default in defaults.items():
    if field in _IDS:
      if field == "pad_token_id" and values[field] is None:
        values[field] = default
      if type(values[field]) is not int or values[field] < 0:
        raise ValueError(
          f"{label}: {field} must be one id; got {values[field]!r}"
        )
    elif isinstance(default, int):
      values[field] = hf_json.integer(values, label, field)
  return values


def _write_sizes(
  tower: vit.ViTConfig | text_transformer.TextTransformerConfig, embed_dim: int
) -> dict[str, Any]:
  return {
    **hf_json.written_layers(tower),
    "attention_dropout": 0.0,
    "projection_dim": embed_dim,
  }


def _read_text(
  values: Mapping[str, Any], family: str, has_projection: bool
) -> text_transformer.TextTransformerConfig:
  pad_id = values["pad_token_id"]
  pool = {"pool": "eot", "eot_id": values["eos_token_id"]}
  if family != _METACLIP_2:
    # CLIP's is 1 in config.json, which nothing uses.
    pad_id = clip_transformers.PAD_ID
    if values["eos_token_id"] == _OLD_EOS:
      pool = clip_transformers.highest_id(values["vocab_size"])
  return clip_transformers.make_text(
    **hf_json.read_layers(values, "config.json"),
    vocab_size=values["vocab_size"],
    num_tokens=values["max_position_embeddings"],
    pad_id=pad_id,
    **pool,
    projection=has_projection,
  )


def _read_image(
  values: Mapping[str, Any], has_projection: bool
) -> vit.ViTConfig:
  return clip_transformers.make_image(
    **hf_json.read_layers(values, "config.json"),
    image_size=values["image_size"],
    patch_size=values["patch_size"],
    projection=has_projection,
  )


def _image_links(config: vit.ViTConfig) -> list[mapping.Link]:
  tower = "vision_model"
  return [
    mapping.link(
      "img/patch/kernel",
      f"{tower}.embeddings.patch_embedding.weight",
      forms.patch(config.patch_size),
    ),
    mapping.link("img/cls", f"{tower}.embeddings.class_embedding", forms.ROW),
    mapping.link(
      "img/position",
      f"{tower}.embeddings.position_embedding.weight",
      resize=positions.resize_grid(1),
    ),
    # So spelt there.
    *torch_links.norm("img/pre_norm", f"{tower}.pre_layrnorm"),
    *_blocks("img/blocks", tower),
    *torch_links.norm("img/norm", f"{tower}.post_layernorm"),
    *_projection(config, "img", "visual_projection"),
  ]


def _text_links(
  config: text_transformer.TextTransformerConfig,
) -> list[mapping.Link]:
  tower = "text_model"
  return [
    mapping.link(
      "txt/token_embedding", f"{tower}.embeddings.token_embedding.weight"
    ),
    mapping.link(
      "txt/position",
      f"{tower}.embeddings.position_embedding.weight",
      resize=positions.resize_length,
    ),
    *_blocks("txt/blocks", tower),
    *torch_links.norm("txt/norm", f"{tower}.final_layer_norm"),
    *_projection(config, "txt", "text_projection"),
  ]


def _projection(
  config: vit.ViTConfig | text_transformer.TextTransformerConfig,
  ours: str,
  theirs: str,
) -> tuple[mapping.Link, ...]:
  if not config.projection:
    return ()
  return torch_links.dense(f"{ours}/projection", theirs, use_bias=False)


def _blocks(ours: str, tower: str) -> tuple[mapping.Link, ...]:
  return torch_links.block(
    ours, f"{tower}.encoder.layers.{mapping.LAYER}", hf_json.LAYER
  )
