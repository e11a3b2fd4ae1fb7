"""SigLIP 2 NaFlex as transformers stores it (Siglip2Model)."""

import math
import types
from typing import Any

from models import dual_encoder, naflex
from models.pretrained import forms, mapping, opening, pixels
from models.pretrained.families import hf_siglip
from models.pretrained.parts import hf_json
from runtime import notices

IGNORED = hf_siglip.IGNORED
# Defaults for config.json: transformers 5.23, configuration_siglip2.py.
_VISION = types.MappingProxyType({**hf_siglip.VISION, "num_patches": 256})


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the model is of this family."""
  return files.config.get("model_type") in (
    "siglip2",
    "siglip2_vision_model",
    "siglip2_text_model",
  )


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model's config.

  Raises:
    ValueError: a setting has a value that no published SigLIP 2 has.
  """
  vision, text = hf_siglip.sections(files.config, _VISION, hf_siglip.TEXT)
  image = None
  if vision is not None:
    count = hf_json.integer(vision, "vision_config", "num_patches")
    side = math.isqrt(count)
    if side * side != count:
      raise ValueError(
        f"vision_config: num_patches must be a square; got {count}"
      )
    patch_size = hf_json.integer(vision, "vision_config", "patch_size")
    processor = pixels.read_processor(files.folder).fields
    if "max_num_patches" in processor:
      max_num_patches = processor["max_num_patches"]
    else:
      max_num_patches = count
      notices.say_once(
        f"{files.folder} has no preprocessor_config.json with max_num_patches:"
        f" assumed {count} patches, the positions that the model has"
      )
    image = naflex.NaFlexConfig(
      tower="naflex",
      image_size=side * patch_size,
      patch_size=patch_size,
      max_num_patches=max_num_patches,
      position_size=side,
      **hf_siglip.tower_fields(vision, "vision_config"),
    )
  return hf_siglip.make_model(files, image, vision, text)


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  patch = None if model.image is None else forms.DENSE
  return hf_siglip.make_links(model, patch)


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the config.json of a model with both towers.

  Raises:
    ValueError: the model is not a SigLIP 2 NaFlex.
  """
  hf_json.refuse_others(
    "model.image", model.image, {"tower": "naflex", "projection": False}
  )
  assert isinstance(model.image, naflex.NaFlexConfig)
  return {
    "architectures": ["Siglip2Model"],
    "model_type": "siglip2",
    "vision_config": {
      "model_type": "siglip2_vision_model",
      "num_patches": model.image.position_size**2,
      **hf_siglip.written_vision(
        hf_json.as_tower("model.image", model.image, naflex.NaFlexConfig)
      ),
    },
    "text_config": {
      "model_type": "siglip2_text_model",
      **hf_siglip.written_text(model),
    },
  }
