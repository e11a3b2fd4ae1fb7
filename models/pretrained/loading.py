"""One call for a published model: its parameters and how to feed them."""

import dataclasses
import functools
import json
import math
import pathlib
from typing import Any

import jax
import numpy as np

from models import dual_encoder
from models import naflex as naflex_tower
from models.pretrained import families, mapping, opening, source

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
    image_protocol: an image_protocols.Protocol, which makes an
      image ready for the tower; None where there is none.
    image_problem: why there is none; "" where there is one.
    tokenizer: an input_pipeline.tokenizers.Tokenizer; None without a text
      tower, or where its files are not there.
    tokenizer_problem: why there is none; "" where there is one.
  """

  path: pathlib.Path
  family: str
  config: dual_encoder.ModelConfig
  params: Any
  image_protocol: Any
  image_problem: str
  tokenizer: Any
  tokenizer_problem: str


def load(path: str | pathlib.Path) -> Pretrained:
  """Read a published model.

  Args:
    path: a folder, a file of weights, or "hf://owner/name[@revision]".

  Raises:
    FileNotFoundError, ValueError: it cannot be read; the message says why.
  """
  found = opening.open_model(path)
  family = families.find(found)
  config = read_config(family, found)
  protocol, image_problem = _image_protocol(family, config, found)
  tokenizer, tokenizer_problem = _tokenizer(config, found)
  return Pretrained(
    path=found.path,
    family=families.name(family),
    config=config,
    params=mapping.nested(_read_params(family, config, found)),
    image_protocol=protocol,
    image_problem=image_problem,
    tokenizer=tokenizer,
    tokenizer_problem=tokenizer_problem,
  )


def read_config(
  family: families.Family, found: source.Source
) -> dual_encoder.ModelConfig:
  """Return a model, checked.

  Mean and deviation of pixels are those of the description of images, which
  is a file beside the model's.
  """
  config = family.read_model(found)
  protocol, _ = _image_protocol(family, config, found)
  if protocol is not None:
    config = dataclasses.replace(
      config, image_mean=protocol.mean, image_std=protocol.std
    )
  config.check()
  return config


def shapes_of(config: dual_encoder.ModelConfig) -> Any:
  """Return a model's parameters as ShapeDtypeStructs."""
  return jax.eval_shape(
    functools.partial(dual_encoder.init_params, config), jax.random.key(0)
  )


def _read_params(
  family: families.Family,
  config: dual_encoder.ModelConfig,
  found: source.Source,
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


def _image_protocol(
  family: families.Family,
  config: dual_encoder.ModelConfig,
  found: source.Source,
) -> tuple[Any, str]:
  """Return what makes images ready, or None and why there is nothing."""
  if config.image is None:
    return None, "there is no image tower"
  # Late, as in `_tokenizer`.
  from input_pipeline.images import image_protocols, naflex

  preprocessor = _folder(found) / PREPROCESSOR
  try:
    if isinstance(config.image, naflex_tower.NaFlexConfig):
      return naflex.Protocol(
        config.image.patch_size,
        config.image.max_num_patches,
        config.image_mean,
        config.image_std,
      ), ""
    if "preprocess_cfg" in found.config:
      protocol = image_protocols.from_open_clip(found.config["preprocess_cfg"])
    elif preprocessor.is_file():
      content = json.loads(preprocessor.read_text(encoding="utf-8"))
      protocol = image_protocols.from_hf(content)
    else:
      name = families.IMAGE_PROTOCOLS.get(families.name(family))
      if name is None:
        return None, f"there is no {PREPROCESSOR} in {_folder(found)}"
      protocol = published_protocol(config, name)
  except (ValueError, OSError) as error:
    return None, str(error)
  if protocol.size != config.image.image_size:
    protocol = protocol.at(config.image.image_size)
  return protocol, ""


def published_protocol(config: dual_encoder.ModelConfig, name: str) -> Any:
  """Return a published protocol at the size, mean and deviation of a model."""
  from input_pipeline.images import image_protocols

  assert config.image is not None
  (mean_r, mean_g, mean_b), (r, g, b) = config.image_mean, config.image_std
  return dataclasses.replace(
    image_protocols.PROTOCOLS[name].at(config.image.image_size),
    mean=(mean_r, mean_g, mean_b),
    std=(r, g, b),
  )


def _tokenizer(
  config: dual_encoder.ModelConfig, found: source.Source
) -> tuple[Any, str]:
  """Return the tokenizer of the files beside the weights, or why not."""
  if config.text is None:
    return None, "there is no text tower"
  # Late: what reads vocabularies takes as long to import as JAX.
  from input_pipeline import tokenizers

  folder = _folder(found)
  try:
    made = tokenizers.load(folder, num_tokens=config.text.num_tokens)
  except (ValueError, OSError) as error:
    return None, str(error)
  if made.vocab_size > config.text.vocab_size:
    return None, (
      f"the tokenizer in {folder} has {made.vocab_size} entries; the model has"
      f" {config.text.vocab_size}"
    )
  return made, ""


def _folder(found: source.Source) -> pathlib.Path:
  return found.path if found.path.is_dir() else found.path.parent
