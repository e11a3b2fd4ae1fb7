"""The published families of models, and the choice of one for files on disk.

To add a family, write a module here with the functions of `Family`, and name it
in FAMILIES: before those that would recognise its files too. If models are to
be written as it, it also has `write_config`, and is named in EXPORTS. If no
file beside its weights describes how images are prepared, IMAGE_PROTOCOLS does.
Its proof is a golden file (tests/models/pretrained/goldens.py).
"""

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
  hf_code,
  hf_efficientnet,
  hf_siglip,
  hf_siglip2,
  hf_swin,
  hf_vit,
  open_clip,
  openai_clip,
  unicl,
)


class Family(Protocol):
  """Contents of a module of this folder that describes a family."""

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
    """Return the model's config, from its description or its shapes."""
    ...

  def links(
    self, model: dual_encoder.ModelConfig, /
  ) -> tuple[mapping.Link, ...]:
    """Return links from each tensor of the file to its parameters."""
    ...


class WrittenFamily(Family, Protocol):
  """Family whose format --task=export can write."""

  def write_config(self, model: dual_encoder.ModelConfig, /) -> dict[str, Any]:
    """Return the description; ValueError for a field that it cannot express."""
    ...


# The first that recognises a model reads it.
FAMILIES: tuple[Family, ...] = (
  hf_clip,
  hf_siglip,
  hf_siglip2,
  hf_align,
  hf_bert,
  hf_vit,
  hf_swin,
  hf_efficientnet,
  hf_code,
  openai_clip,
  open_clip,
  big_vision,
  efficientnet_lite,
  unicl,
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
    hf_swin,
    hf_efficientnet,
  ),
  "hf_code": (hf_code,),
  "open_clip": (open_clip,),
}

# Image protocol of a family (key of image_protocols.PROTOCOLS) for models
# without a file that describes it. Models of other families need that file.
IMAGE_PROTOCOLS: Mapping[str, str] = types.MappingProxyType(
  {
    "hf_clip": "clip",
    "openai_clip": "clip",
    "open_clip": "clip",
    "hf_siglip": "siglip",
    "big_vision": "siglip",
    "hf_align": "align",
    "hf_vit": "vit",
    "hf_swin": "swin",
    "efficientnet_lite": "efficientnet_lite",
    "unicl": "imagenet_bicubic",
  }
)


def find(files: opening.PublishedFiles) -> Family:
  """Return the family of a model.

  Raises:
    ValueError: no family recognises the model.
  """
  for family in FAMILIES:
    if family.recognises(files):
      return family
  tensors = list(files.tensors)
  begins = {name.partition(".")[0] for name in tensors}
  heads = {"text_model", "vision_model", "vit", "bert"}
  if not files.config and begins & heads:
    raise ValueError(
      f"{files.path} has tensors of transformers ({tensors[0]}, ...), whose"
      " sizes its config.json says: expected it beside the weights"
    )
  kind = files.config.get("model_type") or files.config.get("architectures")
  raise ValueError(
    f"{files.path} is of no family that is known ("
    + ", ".join(name(family) for family in FAMILIES)
    + f"): its config has model_type {kind!r}, and its {len(tensors)} tensors"
    f" begin with {', '.join(tensors[:5])}"
  )


def name(family: Family) -> str:
  """Return a family's name, that of its module."""
  return family.__name__.rpartition(".")[2]
