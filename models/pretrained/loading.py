"""One call for a published model: its parameters and how to feed them."""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np

from models import dual_encoder
from models.pretrained import families, mapping, source, sources

# What describes how images are made ready, beside the weights.
PREPROCESSOR = "preprocessor_config.json"


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A published model.

  Attributes:
    path: where it was found; a folder of the cache for an id of the hub.
    family: name of the module that read it.
    config: float32, without remat; of one tower where the file has one.
    params: nested dict of float32 NumPy arrays.
    image_protocol: what makes an image ready for the tower; None without one.
    tokenizer: None without a text tower, or where its files are not there.
    tokenizer_problem: why there is none; "" where there is one.
  """

  path: pathlib.Path
  family: str
  config: dual_encoder.ModelConfig
  params: Any
  image_protocol: Any
  tokenizer: Any
  tokenizer_problem: str


def load(path: str | pathlib.Path) -> Pretrained:
  """Read a published model.

  Args:
    path: a folder, a file of weights, or "hf://owner/name[@revision]".

  Raises:
    FileNotFoundError, ValueError: it cannot be read; the message says why.
  """
  found = sources.open_model(path)
  family = families.find(found)
  config, protocol = read_config(family, found)
  config.check()
  tokenizer, problem = _tokenizer(config, found)
  return Pretrained(
    path=found.path,
    family=families.name(family),
    config=config,
    params=mapping.nested(_read_params(family, config, found)),
    image_protocol=protocol,
    tokenizer=tokenizer,
    tokenizer_problem=problem,
  )


def read_config(
  family: Any, found: source.Source
) -> tuple[dual_encoder.ModelConfig, Any]:
  """Return a model, and what makes images ready for it (None: no images).

  Mean and deviation of pixels are those of the description of images, which
  is a file beside the model's.
  """
  config = family.read_model(found)
  if config.image is None:
    return config, None
  protocol = _image_protocol(family, config, found)
  config = dataclasses.replace(
    config, image_mean=protocol.mean, image_std=protocol.std
  )
  return config, protocol


def shapes_of(config: dual_encoder.ModelConfig) -> Any:
  """Return a model's parameters as ShapeDtypeStructs."""
  return jax.eval_shape(
    functools.partial(dual_encoder.init_params, config), jax.random.key(0)
  )


def _read_params(
  family: Any, config: dual_encoder.ModelConfig, found: source.Source
) -> dict[str, Any]:
  shapes = shapes_of(config)
  prefix = "txt/" if config.image is None else "img/"
  params = mapping.load(
    family.links(config),
    found.tensors,
    shapes,
    ignored=family.IGNORED,
    prefix="" if len(config.towers) == 2 else prefix,
  )
  # A single tower has no logits, and CLIP's have no bias.
  fresh = {
    "log_scale": math.log(config.scale_init),
    "bias": config.bias_init,
  }
  for path, value in fresh.items():
    params.setdefault(path, np.asarray(value, np.float32))
  mapping.raise_any(
    {"not to be filled": [x for x in mapping.flat(shapes) if x not in params]}
  )
  return params
