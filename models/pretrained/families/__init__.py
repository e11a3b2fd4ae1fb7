"""The published families, and which of them a model on disk belongs to."""

import types
from collections.abc import Mapping
from typing import Any, Protocol

from models import dual_encoder
from models.pretrained import mapping, opening
from models.pretrained.families import (
  big_vision,
  efficientnet_lite,
  hf_align,
  hf_bert,
  hf_clip,
  hf_efficientnet,
  hf_siglip,
  hf_siglip2,
  hf_vit,
  open_clip,
  openai_clip,
)


class Family(Protocol):
  """What a module of this folder that describes a family has."""

  __name__: str

  @property
  def IGNORED(self) -> tuple[str, ...]:
    """Regular expressions of tensors that hold no parameter."""
    ...

  def recognises(self, files: opening.PublishedFiles, /) -> bool:
    """Return whether a model is of this family."""
    ...

  def read_model(
    self, files: opening.PublishedFiles, /
  ) -> dual_encoder.ModelConfig:
    """Return the model that a description or its tensors' shapes tell of."""
    ...

  def links(
    self, model: dual_encoder.ModelConfig, /
  ) -> tuple[mapping.Link, ...]:
    """Return which parameters each tensor of the whole file holds."""
    ...


class WrittenFamily(Family, Protocol):
  """A family that models can be written as."""

  def write_config(self, model: dual_encoder.ModelConfig, /) -> dict[str, Any]:
    """Return the description; ValueError where it has no room for a field."""
    ...


# The first that recognises a model reads it.
FAMILIES: tuple[Family, ...] = (
  hf_clip,
  hf_siglip,
  hf_siglip2,
  hf_align,
  hf_bert,
  hf_vit,
  hf_efficientnet,
  openai_clip,
  open_clip,
  big_vision,
  efficientnet_lite,
)
# Families that a model can be written as, by --format; each has `write_config`.
EXPORTS: Mapping[str, tuple[WrittenFamily, ...]] = {
  "hf": (
    hf_clip,
    hf_siglip,
    hf_siglip2,
    hf_align,
    hf_bert,
    hf_vit,
    hf_efficientnet,
  ),
  "open_clip": (open_clip,),
}

# How a family's models see images where no file beside the weights says it:
# key of image_protocols.PROTOCOLS. Of the others, a file must.
IMAGE_PROTOCOLS: Mapping[str, str] = types.MappingProxyType(
  {
    "hf_clip": "clip",
    "openai_clip": "clip",
    "open_clip": "clip",
    "hf_siglip": "siglip",
    "big_vision": "siglip",
    "hf_align": "align",
    "hf_vit": "vit",
    "efficientnet_lite": "efficientnet_lite",
  }
)


def find(found: opening.PublishedFiles) -> Family:
  """Return the family of a model.

  Raises:
    ValueError: it is of none.
  """
  for family in FAMILIES:
    if family.recognises(found):
      return family
  tensors = list(found.tensors)
  kind = found.config.get("model_type") or found.config.get("architectures")
  raise ValueError(
    f"{found.path} is of no family that is known ("
    + ", ".join(name(family) for family in FAMILIES)
    + f"): its config has model_type {kind!r}, and its {len(tensors)} tensors"
    f" begin with {', '.join(tensors[:5])}"
  )


def name(family: Family) -> str:
  """Return a family's name, that of its module."""
  return family.__name__.rpartition(".")[2]
