"""Config and parameters of a published model, from its opened files."""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np

from models import dual_encoder
from models.pretrained import families, mapping, opening, pixels
from models.pretrained.parts import hf_json
from runtime import sections


def read_config(
  family: families.Family, files: opening.PublishedFiles
) -> dual_encoder.ModelConfig:
  """Return a model, checked.

  Mean and deviation of pixels are the family's, where neither the model's
  description nor a preprocessor_config.json beside it has them.
  """
  config = family.read_model(files)
  if "preprocess_cfg" not in files.config:
    mean, std = pixels.statistics(
      hf_json.beside(files, pixels.PREPROCESSOR),
      image_mean=config.image_mean,
      image_std=config.image_std,
    )
    config = dataclasses.replace(config, image_mean=mean, image_std=std)
  config.check()
  return config


def shapes_of(config: dual_encoder.ModelConfig) -> Any:
  """Return a model's parameters as ShapeDtypeStructs."""
  return jax.eval_shape(
    functools.partial(dual_encoder.init_params, config), jax.random.key(0)
  )


def read_params(
  family: families.Family,
  config: dual_encoder.ModelConfig,
  files: opening.PublishedFiles,
) -> dict[str, Any]:
  """Return a model's parameters, a nested dict of float32 NumPy arrays.

  Raises:
    mapping.MappingError: tensors are missing, left over or of another shape.
  """
  shapes = shapes_of(config)
  prefix = "txt/" if config.image is None else "img/"
  params = mapping.load(
    family.links(config),
    files.tensors,
    shapes,
    ignored=family.IGNORED,
    prefix="" if len(config.towers) == 2 else prefix,
  )
  # A single tower has no logits, and CLIP's have no bias.
  logits = {
    "log_scale": math.log(config.scale_init),
    "bias": config.bias_init,
  }
  for path, value in logits.items():
    params.setdefault(path, np.asarray(value, np.float32))
  mapping.raise_any(
    {
      "not to be filled": [
        x for x in sections.flat(shapes, "/") if x not in params
      ]
    }
  )
  return mapping.nested(params)
