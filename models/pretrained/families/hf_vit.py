"""ViT as transformers stores it (ViTModel, ViTForImageClassification).

It is read as an image tower that pools the cls token; a classifier becomes its
projection. A ViTModel's pooler (tanh of an affine map) is left out: a LiT tower
starts from the cls token itself.
"""

import dataclasses
import types
from typing import Any

from models import dual_encoder, vit
from models.pretrained import forms, mapping, opening, positions
from models.pretrained.parts import fresh, hf_json, torch_links

IGNORED = (
  r"(vit\.)?pooler\..*",
  r"(vit\.)?embeddings\.mask_token",  # for masked image modelling
)
# Defaults for config.json: transformers 5.23, configuration_vit.py.
_DEFAULTS = types.MappingProxyType(
  {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
  }
)
_BLOCK = {
  "attn_norm": "layernorm_before",
  "attn/query": "attention.attention.query",
  "attn/key": "attention.attention.key",
  "attn/value": "attention.attention.value",
  "attn/out": "attention.output.dense",
  "mlp_norm": "layernorm_after",
  "mlp/up": "intermediate.dense",
  "mlp/down": "output.dense",
}


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the model is of this family."""
  return files.config.get("model_type") == "vit"


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model's config: an image tower, and a classifier if it has one.

  Raises:
    ValueError: a setting has a value that the tower here cannot express.
  """
  config: dict[str, Any] = {**_DEFAULTS, **files.config}
  hf_json.expect(config, "config.json", "num_channels", 3)
  hf_json.expect(config, "config.json", "qkv_bias", True)
  classifies = "classifier.weight" in files.tensors
  image = vit.ViTConfig(
    tower="vit",
    image_size=hf_json.integer(config, "config.json", "image_size"),
    patch_size=hf_json.integer(config, "config.json", "patch_size"),
    **hf_json.read_layers(config, "config.json"),
    position="learned",
    pool="cls",
    pre_norm=False,
    projection=classifies,
    projection_bias=classifies,
    dropout=0.0,
    patch_dropout=0.0,
  )
  return fresh.make_model(
    embed_dim=(
      files.tensors["classifier.weight"].shape[0] if classifies else image.width
    ),
    image=image,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file.

  A model with a projection that starts from a ViT without a classifier keeps
  its own projection.
  """
  image = model.image
  assert isinstance(image, vit.ViTConfig)
  patches = "embeddings.patch_embeddings.projection"
  entries = [
    mapping.link("img/cls", "embeddings.cls_token", forms.BATCHED),
    mapping.link(
      "img/patch/kernel", f"{patches}.weight", forms.patch(image.patch_size)
    ),
    mapping.link("img/patch/bias", f"{patches}.bias"),
    mapping.link(
      "img/position",
      "embeddings.position_embeddings",
      forms.BATCHED,
      resize=positions.resize_grid(1),
    ),
    *torch_links.block("img/blocks", f"encoder.layer.{mapping.LAYER}", _BLOCK),
    *torch_links.norm("img/norm", "layernorm"),
  ]
  if not image.projection:
    return mapping.spelled(entries, _in_classifier)
  # A classifier's file has the tower below "vit.".
  entries = [
    dataclasses.replace(
      entry,
      theirs=tuple(_in_classifier(name) for name in entry.theirs),
      also=(entry.theirs,),
    )
    for entry in entries
  ]
  return (
    *entries,
    *torch_links.dense(
      "img/projection",
      "classifier",
      use_bias=image.projection_bias,
      optional=True,
    ),
  )


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the config.json of a model with an image tower only.

  Raises:
    ValueError: the model is not a ViT that transformers can express.
  """
  hf_json.refuse_others("model.text", model.text, None)
  hf_json.refuse_others(
    "model.image",
    model.image,
    {
      "tower": "vit",
      "position": "learned",
      "pool": "cls",
      "pre_norm": False,
    },
  )
  image = model.image
  assert isinstance(image, vit.ViTConfig)
  labels = {}
  if image.projection:
    hf_json.refuse_others("model.image", image, {"projection_bias": True})
    labels = hf_json.written_labels(model.embed_dim)
  return {
    "architectures": [
      "ViTForImageClassification" if image.projection else "ViTModel"
    ],
    "model_type": "vit",
    **labels,
    "image_size": image.image_size,
    "patch_size": image.patch_size,
    **hf_json.written_layers(image),
  }


def _in_classifier(name: str) -> str:
  return f"vit.{name}"
