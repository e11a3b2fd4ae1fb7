"""Inputs of a model: the image protocol and the tokenizer that it was made for.

A run's folder holds both, so that its embeddings depend on no data or file
elsewhere: image_protocol.json, and the folder "tokenizer" (see
tokenizers/saved.py).
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline import tokenizers
from input_pipeline.images import image_protocols, naflex
from input_pipeline.tokenizers import saved
from runtime.storage import whole_files

TOKENIZER = "tokenizer"
IMAGE_PROTOCOL = "image_protocol.json"
Protocol = image_protocols.Protocol | naflex.Protocol
_IN_WORDS = {
  "tf_bilinear": "bilinear without antialiasing, as TensorFlow",
  "tf_area": "mean over areas, as TensorFlow",
}
_KINDS = {"square": image_protocols.Protocol, "naflex": naflex.Protocol}


@dataclasses.dataclass(frozen=True)
class ModelInputs:
  """Image protocol and tokenizer of a model."""

  image_protocol: Protocol
  tokenizer: tokenizers.Tokenizer

  def facts(self) -> dict[str, object]:
    """Return the protocol and the tokenizer as values for JSON."""
    return {
      "image_protocol": protocol_facts(self.image_protocol),
      "tokenizer": tokenizer_facts(self.tokenizer),
    }


def as_seen(protocol: Protocol, pixels_YXC: np.ndarray) -> np.ndarray:
  """Return an image uint8 [Y, X, 3] as a model sees it.

  That is a square, or for NaFlex the whole image, resized.
  """
  if isinstance(protocol, naflex.Protocol):
    return naflex.resize(
      pixels_YXC, protocol.patch_size, protocol.max_num_patches
    )
  return protocol.apply(pixels_YXC)


def write(inputs: ModelInputs, folder: pathlib.Path) -> None:
  """Write the inputs into a run's folder."""
  saved.write(inputs.tokenizer, folder / TOKENIZER)
  write_protocol(inputs.image_protocol, folder)


def write_protocol(protocol: Protocol, folder: pathlib.Path) -> None:
  """Write the image protocol into a run's folder."""
  text = json.dumps(protocol_facts(protocol), indent=2)
  whole_files.write(folder / IMAGE_PROTOCOL, text.encode() + b"\n")


def read_tokenizer(folder: pathlib.Path) -> tokenizers.Tokenizer | None:
  """Return the tokenizer of a run's folder, None where it holds none.

  Raises:
    ValueError: its files are damaged.
  """
  path = folder / TOKENIZER
  return saved.read(path) if saved.is_there(path) else None


def read_protocol(folder: pathlib.Path) -> Protocol | None:
  """Return the image protocol of a run's folder, None where it holds none.

  Raises:
    ValueError: the file is damaged, or of another version.
  """
  path = folder / IMAGE_PROTOCOL
  if not path.is_file():
    return None
  try:
    return protocol_of(json.loads(path.read_text("utf-8")))
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path} holds no image protocol: {error!r}; restore it from a copy"
    ) from error


def protocol_facts(protocol: Protocol) -> dict[str, object]:
  """Return all fields of an image protocol as values for JSON."""
  kind = next(k for k, cls in _KINDS.items() if isinstance(protocol, cls))
  return {"kind": kind} | dataclasses.asdict(protocol)


def protocol_of(facts: Mapping[str, Any]) -> Protocol:
  """Return the image protocol whose facts these are."""
  values: dict[str, Any] = {**facts}
  values |= {name: tuple(values[name]) for name in ("mean", "std")}
  return _KINDS[values.pop("kind")](**values)


def tokenizer_facts(made: tokenizers.Tokenizer) -> dict[str, object]:
  """Return a tokenizer's size, digest and rule as values for JSON."""
  return {
    "vocab_size": made.vocab_size,
    "digest": saved.digest(made),
    "rule": dataclasses.asdict(made.rule),
  }


def in_words(protocol: Protocol) -> str:
  """Return the steps of an image protocol as a phrase, with mean and std."""
  mean, std = (
    ", ".join(f"{x:.4g}" for x in values)
    for values in (protocol.mean, protocol.std)
  )
  return f"{describe(protocol)}, mean ({mean}), std ({std})"


def describe(protocol: Protocol) -> str:
  """Return the steps of an image protocol as a phrase, without mean and std."""
  if isinstance(protocol, naflex.Protocol):
    return (
      f"at most {protocol.max_num_patches} patches of {protocol.patch_size}"
      " pixels in the image's own shape"
    )
  size, to, by = protocol.size, protocol.resize_size, protocol.interpolation
  if protocol.resize == "crop_first":
    return f"centre {size}/{to} of the shorter side, resized to {size} ({by})"
  by = _IN_WORDS.get(by, by)
  sides = "both sides" if protocol.resize == "squash" else "shorter side"
  cropped = protocol.resize != "squash" or size != to
  crop = f", centre crop of {size}" if cropped else ""
  return f"{sides} to {to} ({by}){crop}"
