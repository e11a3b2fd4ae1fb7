"""Swin as transformers stores it (SwinModel, SwinForImageClassification).

It is read as an image tower that averages its last tokens; a classifier becomes
its projection. Tokens attend to the padding of a grid that windows do not
divide (`mask_padding` is False), as in transformers.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from models import dual_encoder, swin
from models.pretrained import mapping, opening
from models.pretrained.parts import fresh, hf_json, swin_links, torch_links

IGNORED = (
  r".*\.relative_position_index",
  r"(swin\.)?embeddings\.mask_token",  # for masked image modelling
)
_CLASSIFIER = "classifier.weight"
# Defaults for config.json: transformers 5.24, configuration_swin.py.
_DEFAULTS: Mapping[str, Any] = types.MappingProxyType(
  {
    "image_size": 224,
    "patch_size": swin.PATCH_SIZE,
    "num_channels": 3,
    "embed_dim": 96,
    "depths": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "window_size": 7,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "drop_path_rate": 0.1,
    "hidden_act": "gelu",
    "use_absolute_embeddings": False,
    "layer_norm_eps": 1e-5,
  }
)
# Epsilon of the norms of embedding and merging there, whatever the config says.
_NORM_EPSILON = 1e-5
# Pixel statistics of the published models: timm's default_cfgs of Swin.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_BLOCK: Mapping[str, str] = types.MappingProxyType(
  {
    "attn_norm": "layernorm_before",
    "attn/query": "attention.self.query",
    "attn/key": "attention.self.key",
    "attn/value": "attention.self.value",
    "attn/out": "attention.output.dense",
    "mlp_norm": "layernorm_after",
    "mlp/up": "intermediate.dense",
    "mlp/down": "output.dense",
  }
)


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether config.json names this family."""
  return files.config.get("model_type") == "swin"


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model: an image tower, its classifier as the projection.

  Raises:
    ValueError: a setting has a value that the tower here cannot express.
  """
  config: dict[str, Any] = {**_DEFAULTS, **files.config}
  for field, value in (
    ("num_channels", 3),
    ("qkv_bias", True),
    ("use_absolute_embeddings", False),
    ("layer_norm_eps", _NORM_EPSILON),
  ):
    hf_json.expect(config, "config.json", field, value)
  if hf_json.integer(config, "config.json", "patch_size") != swin.PATCH_SIZE:
    hf_json.expect(config, "config.json", "patch_size", swin.PATCH_SIZE)
  depths, heads = tuple(config["depths"]), tuple(config["num_heads"])
  width = hf_json.integer(config, "config.json", "embed_dim")
  window = hf_json.integer(config, "config.json", "window_size")
  classifies = _CLASSIFIER in files.tensors
  image = swin.SwinConfig(
    tower="swin",
    image_size=hf_json.integer(config, "config.json", "image_size"),
    embedding="patch",
    merging="patch",
    widths=tuple(width * 2**i for i in range(len(depths))),
    depths=depths,
    num_heads=heads,
    windows=(window,) * len(depths),
    mlp_ratio=float(config["mlp_ratio"]),
    activation=hf_json.activation(config),
    mask_padding=False,
    projection=classifies,
    projection_bias=classifies,
    norm_epsilon=_NORM_EPSILON,
    drop_path=float(config["drop_path_rate"]),
  )
  return fresh.make_model(
    embed_dim=(
      files.tensors[_CLASSIFIER].shape[0] if classifies else image.widths[-1]
    ),
    image_mean=_MEAN,
    image_std=_STD,
    image=image,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file.

  A model with a projection that starts from a Swin without a classifier keeps
  its own projection.
  """
  image = model.image
  assert isinstance(image, swin.SwinConfig)
  entries = (
    *swin_links.stem(
      "embeddings.patch_embeddings.projection", "embeddings.norm"
    ),
    *swin_links.stages(
      image,
      "encoder.layers",
      _BLOCK,
      table="attention.self.relative_position_bias_table",
    ),
    *torch_links.norm("img/norm", "layernorm"),
  )
  if not image.projection:
    return mapping.spelled(entries, _in_classifier)
  # A classifier's file has the tower below "swin.".
  entries = tuple(
    dataclasses.replace(
      entry,
      theirs=tuple(_in_classifier(name) for name in entry.theirs),
      also=(entry.theirs,),
    )
    for entry in entries
  )
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
    ValueError: transformers' config cannot express a field.
  """
  hf_json.refuse_others("model.text", model.text, None)
  expected = {
    "tower": "swin",
    "embedding": "patch",
    "merging": "patch",
    "mask_padding": False,
    "norm_epsilon": _NORM_EPSILON,
  }
  hf_json.refuse_others("model.image", model.image, expected)
  image = model.image
  assert isinstance(image, swin.SwinConfig)
  width, window = image.widths[0], image.windows[0]
  count = len(image.depths)
  hf_json.refuse_others(
    "model.image",
    image,
    {
      "widths": tuple(width * 2**i for i in range(count)),
      "windows": (window,) * count,
    },
  )
  labels = {}
  if image.projection:
    hf_json.refuse_others("model.image", image, {"projection_bias": True})
    labels = hf_json.written_labels(model.embed_dim)
  return {
    "architectures": [
      "SwinForImageClassification" if image.projection else "SwinModel"
    ],
    "model_type": "swin",
    **labels,
    "image_size": image.image_size,
    "patch_size": swin.PATCH_SIZE,
    "embed_dim": width,
    "depths": list(image.depths),
    "num_heads": list(image.num_heads),
    "window_size": window,
    "mlp_ratio": image.mlp_ratio,
    "hidden_act": hf_json.WRITTEN[image.activation],
    "layer_norm_eps": _NORM_EPSILON,
    "drop_path_rate": image.drop_path,
  }


def _in_classifier(name: str) -> str:
  return f"swin.{name}"
