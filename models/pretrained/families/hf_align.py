"""ALIGN as transformers keeps it: AlignModel, EfficientNet and BERT.

AlignModel divides its logits by `temperature`; ours are multiplied by
exp(log_scale): log_scale = -log(temperature). Between exp(-8) and exp(-2), the
range of temperatures, float32 has more numbers than their logarithms have. A
temperature that was not written from a log_scale is thus read and written with
an error of up to 2.4e-7 of its value. All other tensors are kept to the bit,
and so are a log_scale that was written and a temperature of 1.

BERT's pooler is in the files but unused by AlignModel, and is left out.
"""

import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import bert, dual_encoder, efficientnet
from models.pretrained import forms, mapping, opening
from models.pretrained.families import hf_bert, hf_efficientnet
from models.pretrained.parts import conv_links, fresh, hf_json, torch_links
from runtime import checks

IGNORED = (
  *conv_links.IGNORED,
  r"text_model\.pooler\..*",
  r".*\.position_ids",
)
_VISION, _TEXT = "vision_model.", "text_model."
# Defaults for config.json: transformers 5.23, configuration_align.py.
_DEFAULTS: Mapping[str, Any] = types.MappingProxyType(
  {"projection_dim": 640, "text_config": {}, "vision_config": {}}
)
# Pixels of the published model, x / 127.5 - 1 (convert_align_tf_to_hf.py).
_PIXELS = (0.5, 0.5, 0.5)


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether config.json names this family."""
  return files.config.get("model_type") == "align"


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model that config.json describes.

  Raises:
    ValueError: a setting has a value that the towers here cannot express.
  """
  config: dict[str, Any] = {**_DEFAULTS, **files.config}
  embed_dim = hf_json.integer(config, "config.json", "projection_dim")
  image = hf_efficientnet.read_image(
    config["vision_config"] or {}, "vision_config", has_head=False
  )
  if image.out_width != embed_dim:
    raise ValueError(
      "config.json: projection_dim must equal the"
      f" {image.out_width} channels that vision_config ends with; got"
      f" {embed_dim}"
    )
  temperature = mapping.number(files.tensors, "temperature")
  checks.above("tensor temperature", temperature, 0)
  return fresh.make_model(
    embed_dim=embed_dim,
    scale_init=1 / temperature,
    image_mean=_PIXELS,
    image_std=_PIXELS,
    image=image,
    text=hf_bert.read_text(
      config["text_config"] or {},
      "text_config",
      pool="cls",
      projection=True,
      projection_bias=True,
    ),
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  image = model.image
  assert isinstance(image, efficientnet.EfficientNetConfig)
  return (
    mapping.link(("log_scale", "bias"), "temperature", _TEMPERATURE),
    *hf_efficientnet.image_links(image, _VISION),
    *hf_bert.text_links(model.text, _TEXT),
    *torch_links.dense("txt/projection", "text_projection"),
  )


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the content of config.json.

  Raises:
    ValueError: transformers' AlignModel cannot express a field.
  """
  image, text = model.image, model.text
  hf_json.refuse_others(
    "model.image",
    image,
    {"tower": "efficientnet", "head_width": 0, "projection": False},
  )
  hf_json.refuse_others(
    "model.text",
    text,
    {
      "tower": "bert",
      "pool": "cls",
      "projection": True,
      "projection_bias": True,
    },
  )
  assert isinstance(image, efficientnet.EfficientNetConfig)
  assert isinstance(text, bert.BertConfig)
  return {
    "architectures": ["AlignModel"],
    "model_type": "align",
    "projection_dim": model.embed_dim,
    "temperature_init_value": 1 / model.scale_init,
    "vision_config": {
      "model_type": "align_vision_model",
      **hf_efficientnet.written_image(image),
    },
    "text_config": {
      "model_type": "align_text_model",
      **hf_bert.written_text(text),
    },
  }


def _load_temperature(arrays: Sequence[np.ndarray]) -> forms.Arrays:
  log_scale = -np.log(np.asarray(arrays[0], np.float64).reshape(()))
  return [log_scale.astype(np.float32), np.zeros_like(log_scale, np.float32)]


def _save_temperature(arrays: Sequence[np.ndarray]) -> forms.Arrays:
  log_scale, bias = arrays
  if np.any(bias):
    raise ValueError(
      f"bias must be 0, since ALIGN's logits have none; got {bias}"
    )
  return [np.exp(-np.asarray(log_scale, np.float64)).astype(np.float32)]


_TEMPERATURE = forms.Form(_load_temperature, _save_temperature)
