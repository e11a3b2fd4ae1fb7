"""SigLIP, and SigLIP 2 of fixed resolution, as transformers stores them.

Both are SiglipModel in transformers; files of one tower (SiglipVisionModel,
SiglipTextModel) are read too. SigLIP 2 NaFlex is in hf_siglip2.
"""

import types
from collections.abc import Mapping
from typing import Any

from models import dual_encoder, naflex, text_transformer, vit
from models.pretrained import forms, mapping, opening, positions
from models.pretrained.parts import fresh, hf_json, torch_links

# Positions that files of older versions of transformers hold.
IGNORED = (r".*position_ids",)
# Defaults for config.json: transformers 5.23, configuration_siglip.py.
_TOWER = {
  "hidden_size": 768,
  "intermediate_size": 3072,
  "num_hidden_layers": 12,
  "num_attention_heads": 12,
  "hidden_act": "gelu_pytorch_tanh",
  "layer_norm_eps": 1e-6,
}
VISION = types.MappingProxyType(
  _TOWER
  | {
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "vision_use_head": True,
  }
)
TEXT = types.MappingProxyType(
  _TOWER
  | {
    "vocab_size": 32_000,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "projection_size": None,
  }
)


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the model is of this family."""
  return files.config.get("model_type") in (
    "siglip",
    "siglip_vision_model",
    "siglip_text_model",
  )


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model's config.

  Raises:
    ValueError: a setting has a value that no published SigLIP has.
  """
  vision, text = sections(files.config, VISION, TEXT)
  image = None
  if vision is not None:
    image = vit.ViTConfig(
      tower="vit",
      image_size=hf_json.integer(vision, "vision_config", "image_size"),
      patch_size=hf_json.integer(vision, "vision_config", "patch_size"),
      position="learned",
      pool="map",
      pre_norm=False,
      patch_dropout=0.0,
      **tower_fields(vision, "vision_config"),
    )
  return make_model(files, image, vision, text)


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  image = model.image
  if image is None:
    return make_links(model, None)
  image = hf_json.as_tower("model.image", image, vit.ViTConfig)
  return make_links(model, forms.patch(image.patch_size))


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the config.json of a model with both towers.

  Raises:
    ValueError: the model is not a SigLIP.
  """
  hf_json.refuse_others(
    "model.image",
    model.image,
    {
      "tower": "vit",
      "position": "learned",
      "pool": "map",
      "pre_norm": False,
      "projection": False,
    },
  )
  assert isinstance(model.image, vit.ViTConfig)
  return {
    "architectures": ["SiglipModel"],
    "model_type": "siglip",
    "vision_config": {
      "model_type": "siglip_vision_model",
      "image_size": model.image.image_size,
      **written_vision(
        hf_json.as_tower("model.image", model.image, vit.ViTConfig)
      ),
    },
    "text_config": {
      "model_type": "siglip_text_model",
      **written_text(model),
    },
  }


def sections(
  config: Mapping[str, Any],
  vision: Mapping[str, Any],
  text: Mapping[str, Any],
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
  """Return the settings of both towers, None for a tower that is missing.

  `vision` and `text` are the defaults for a config.json.
  """
  kind = config["model_type"]
  has_text = not kind.endswith("_vision_model")
  has_vision = not kind.endswith("_text_model")
  whole = has_text and has_vision
  got_vision = config.get("vision_config") or {} if whole else config
  got_text = config.get("text_config") or {} if whole else config
  return (
    {**vision, **got_vision} if has_vision else None,
    {**text, **got_text} if has_text else None,
  )


def tower_fields(config: Mapping[str, Any], section: str) -> dict[str, Any]:
  """Return the fields that both towers have."""
  if section == "vision_config":
    hf_json.expect(config, section, "num_channels", 3)
    hf_json.expect(config, section, "vision_use_head", True)
  return {
    **hf_json.read_layers(config, section),
    "projection": section == "text_config",
    "projection_bias": section == "text_config",
    "dropout": 0.0,
  }


def make_model(
  files: opening.PublishedFiles,
  image: dual_encoder.ImageConfig | None,
  vision: Mapping[str, Any] | None,
  text: Mapping[str, Any] | None,
) -> dual_encoder.ModelConfig:
  """Return the model with this image tower and the text tower of `text`.

  Raises:
    ValueError: the towers do not meet in one space.
  """
  sizes = [] if vision is None else [vision["hidden_size"]]
  text_config = None
  if text is not None:
    text_config = text_transformer.TextTransformerConfig(
      tower="transformer",
      vocab_size=hf_json.integer(text, "text_config", "vocab_size"),
      num_tokens=hf_json.integer(
        text, "text_config", "max_position_embeddings"
      ),
      # Unused fields: padding is a token like the others, and the last position
      # is pooled.
      pad_id=1 if text["pad_token_id"] is None else text["pad_token_id"],
      eot_id=1,
      causal=False,
      pool="last",
      mask_padding=False,
      **tower_fields(text, "text_config"),
    )
    sizes.append(text["projection_size"] or text["hidden_size"])
  if len({*sizes}) > 1:
    raise ValueError(
      "text_config: projection_size must equal vision_config's hidden_size;"
      f" got {sizes[1]} and {sizes[0]}"
    )
  tensors = files.tensors
  has_scale = "logit_scale" in tensors
  return fresh.make_model(
    embed_dim=sizes[0],
    scale_init=mapping.scale(tensors, "logit_scale") if has_scale else 1.0,
    bias_init=mapping.number(tensors, "logit_bias") if has_scale else 0.0,
    image=image,
    text=text_config,
  )


def make_links(
  model: dual_encoder.ModelConfig, patch: forms.Form | None
) -> tuple[mapping.Link, ...]:
  """Return the links of the file; `patch` is the patch embedding's form."""
  entries: list[mapping.Link] = []
  if patch is not None:
    entries += _vision_links(patch)
  if model.text is not None:
    entries += _text_links()
  if patch is not None and model.text is not None:
    entries += (
      mapping.link("log_scale", "logit_scale", forms.ONE_NUMBER),
      mapping.link("bias", "logit_bias", forms.ONE_NUMBER),
    )
  # A file of one tower has its names without the tower's prefix.
  return mapping.spelled(
    entries,
    lambda name: name.removeprefix("vision_model.").removeprefix("text_model."),
  )


def written_vision(
  image: vit.ViTConfig | naflex.NaFlexConfig,
) -> dict[str, Any]:
  """Return vision_config without its image size."""
  return hf_json.written_layers(image) | {"patch_size": image.patch_size}


def written_text(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return text_config without its model_type.

  Raises:
    ValueError: the tower is not a SigLIP's.
  """
  hf_json.refuse_others(
    "model.text",
    model.text,
    {
      "tower": "transformer",
      "causal": False,
      "pool": "last",
      "mask_padding": False,
      "projection": True,
      "projection_bias": True,
    },
  )
  assert isinstance(model.text, text_transformer.TextTransformerConfig)
  return hf_json.written_layers(model.text) | {
    "vocab_size": model.text.vocab_size,
    "max_position_embeddings": model.text.num_tokens,
    "pad_token_id": model.text.pad_id,
    "projection_size": model.embed_dim,
  }


def _vision_links(patch: forms.Form) -> tuple[mapping.Link, ...]:
  there = "vision_model"
  return (
    mapping.link(
      "img/patch/kernel", f"{there}.embeddings.patch_embedding.weight", patch
    ),
    mapping.link("img/patch/bias", f"{there}.embeddings.patch_embedding.bias"),
    mapping.link(
      "img/position",
      f"{there}.embeddings.position_embedding.weight",
      resize=positions.resize_grid(0),
    ),
    *torch_links.block(
      "img/blocks", f"{there}.encoder.layers.{mapping.LAYER}", hf_json.LAYER
    ),
    *torch_links.norm("img/norm", f"{there}.post_layernorm"),
    mapping.link("img/pool/probe", f"{there}.head.probe", forms.BATCHED),
    *torch_links.fused_attention("img/pool/attn", f"{there}.head.attention"),
    *torch_links.block(
      "img/pool",
      f"{there}.head",
      {"mlp_norm": "layernorm", "mlp/up": "mlp.fc1", "mlp/down": "mlp.fc2"},
    ),
  )


def _text_links() -> tuple[mapping.Link, ...]:
  there = "text_model"
  return (
    mapping.link(
      "txt/token_embedding", f"{there}.embeddings.token_embedding.weight"
    ),
    mapping.link(
      "txt/position",
      f"{there}.embeddings.position_embedding.weight",
      resize=positions.resize_length,
    ),
    *torch_links.block(
      "txt/blocks", f"{there}.encoder.layers.{mapping.LAYER}", hf_json.LAYER
    ),
    *torch_links.norm("txt/norm", f"{there}.final_layer_norm"),
    *torch_links.dense("txt/projection", f"{there}.head"),
  )
