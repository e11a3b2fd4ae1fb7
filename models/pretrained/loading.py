"""Config and parameters of a published model, from its opened files."""

import dataclasses
import functools
import math
import re
from typing import Any

import jax
import numpy as np

from models import dual_encoder
from models.pretrained import families, mapping, opening, pixels
from runtime import sections


def find_family(files: opening.PublishedFiles) -> families.Family:
  """Return the family of a model; raises ValueError where none fits."""
  with opening.reading(files.path):
    return families.find(files)


def read_config(
  family: families.Family, files: opening.PublishedFiles
) -> dual_encoder.ModelConfig:
  """Return a model, checked.

  Mean and deviation of pixels are the family's, where neither the model's
  description nor an image processor beside it has them.

  Raises:
    ValueError: a field is missing, of another type, or not supported; the
      message begins with the model's path.
  """
  with opening.reading(files.path):
    config = family.read_model(files)
    if "preprocess_cfg" not in files.config:
      processor = pixels.read_processor(files.folder)
      with opening.reading(files.folder / processor.name):
        mean, std = pixels.statistics(
          processor.fields,
          image_mean=config.image_mean,
          image_std=config.image_std,
        )
      config = dataclasses.replace(config, image_mean=mean, image_std=std)
    config = dataclasses.replace(
      config, image=_typed(config.image), text=_typed(config.text)
    )
    config.check()
  return config


def _typed(tower: Any) -> Any:
  """Return a tower's config; raise ValueError for a field of another type."""
  if tower is None:
    return None
  fields = dataclasses.asdict(tower)
  for name, value in sections.flat(fields).items():
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f"the tower's {name} must be finite; got {value}")
  prefix = f"the {tower.tower} tower's "
  return sections.make(
    type(tower), fields, prefix=prefix, see="configs/base.py"
  )


def training_only(files: opening.PublishedFiles) -> dict[str, Any]:
  """Return the settings of a model's training that embedding does not have.

  They are those that drop a part of the towers at random, by their names in the
  model's description, where they are not 0.
  """
  return {
    name: value
    for name, value in sections.flat(files.config).items()
    if re.search(r"drop", name.rpartition(".")[2])
    and isinstance(value, int | float)
    and value
  }


@functools.lru_cache(maxsize=32)  # tracing a model takes a tenth of a second
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
  with opening.reading(files.path):
    return _read_params(family, config, files)


def _read_params(
  family: families.Family,
  config: dual_encoder.ModelConfig,
  files: opening.PublishedFiles,
) -> dict[str, Any]:
  shapes = shapes_of(config)
  prefix = "txt/" if config.image is None else "img/"
  links = family.links(config)
  # Positions are resized for a run on other sizes. Those of the model's own
  # description are its tensors'; only open_clip's code fits the image's.
  fitted = {"img/position"} if "model_cfg" in files.config else set()
  links = tuple(
    entry
    if fitted.intersection(entry.ours)
    else dataclasses.replace(entry, resize=None)
    for entry in links
  )
  params = mapping.load(
    links,
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
