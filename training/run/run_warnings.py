"""Warnings about a run that looks fine and is not: one line each, said once.

warnings.jsonl in the run's folder has a line for each: {"step": ..., "field":
..., "text": ...}. The report lists them. A warning that follows from the config
and the data has the step null, and every start writes it anew; the others stay
when the run is resumed after their step.
"""

import math
import pathlib
from collections.abc import Mapping

from models import convnext, vit
from runtime import cluster
from runtime.storage import jsonl
from training import config as config_lib
from training import metrics

NAME = "warnings.jsonl"
# Part of model.scale_max that the scale's float32 logarithm is rounded by.
_ROUNDING = 1e-5
# Part of the loss of equal logits, the logarithm of the number of classes, that
# a classifier's loss must be below after half of its steps; a limit of ours.
_LEARNED = 0.95


class Writer:
  """Says warnings and keeps them, each field's first one only."""

  def __init__(self, folder: pathlib.Path, first_step: int):
    """Open the file; drop what a run resumed from `first_step` may say anew."""
    self._lines = jsonl.writer(folder / NAME)
    self._said: set[str] = set()
    if cluster.is_first():
      jsonl.keep(
        folder / NAME,
        lambda line: line["step"] is not None and line["step"] <= first_step,
      )
      self._said = {line["field"] for line in jsonl.read(folder / NAME)}

  def add(self, warnings: Mapping[str, str], step: int | None = None) -> None:
    """Say and keep warnings, {config field: text}, but those said before.

    Args:
      warnings: one-line texts.
      step: step that they are about; None for the whole run.
    """
    if not cluster.is_first():
      return
    for field, text in warnings.items():
      if field not in self._said:
        self._said.add(field)
        metrics.say(f"warning: {text}")
        self._lines.write({"step": step, "field": field, "text": text})

  def close(self) -> None:
    """Close the file."""
    self._lines.close()


def read(folder: pathlib.Path) -> list[str]:
  """Return the texts of a run's warnings."""
  return [line["text"] for line in jsonl.read(folder / NAME)]


def of_run(
  config: config_lib.Config, num_examples: Mapping[str, int]
) -> dict[str, str]:
  """Return the warnings that follow from a config and its data.

  Args:
    config: checked.
    num_examples: source -> number of its examples.
  """
  return _of_batch(config, num_examples) | _of_image(config) | _of_sets(config)


def of_step(
  config: config_lib.Config, step: int, values: Mapping[str, float]
) -> dict[str, str]:
  """Return the warnings that follow from the metrics of a step."""
  # A decoder whose first logits are 0 moves no tower in the first step, and a
  # frozen tower never moves.
  is_frozen = any(held for _, held in config.optimizer.freeze)
  found = {
    name: f"{name} is 0 in step {step}: no parameter learns from this loss"
    for name, value in values.items()
    if name.startswith(metrics.GRADIENTS)
    and value == 0
    and step > 1
    and not (is_frozen and name.endswith("/img"))
  }
  found |= _of_classifier(config, step, values)
  limit = config.model.scale_max
  if limit and values["train/scale"] >= limit * (1 - _ROUNDING):
    found["model.scale_max"] = (
      f"the scale of the logits is model.scale_max={limit:g} in step {step}:"
      f" the temperature, {1 / limit:g}, cannot become lower"
    )
  return found


def _of_classifier(
  config: config_lib.Config, step: int, values: Mapping[str, float]
) -> dict[str, str]:
  if config.loss.name != "classes" or 2 * step < config.total_steps:
    return {}
  loss, chance = values["train/loss"], math.log(len(config.model.head.classes))
  if loss < _LEARNED * chance:
    return {}
  return {
    "optimizer.learning_rate_mults": f"train/loss is {loss:.3f} in step {step}"
    f" of {config.total_steps}; equal logits of all classes have {chance:.3f}:"
    " the classifier has hardly learned. A head that begins at zeros needs a"
    " rate of its own, such as optimizer.learning_rate_mults="
    '((r"head/.*", 64.0), (r".*", 1.0)), or model.head.prompts'
  }


def _of_batch(
  config: config_lib.Config, num_examples: Mapping[str, int]
) -> dict[str, str]:
  size = config.num_rows_read
  weights = {name: x.weight for name, x in config.data.sources.items()}
  total = sum(weights.values())
  if total:
    drawn = {
      f"data.sources.{name}": (size * weights[name] / total, count)
      for name, count in num_examples.items()
    }
  else:
    drawn = {"data.sources": (size, sum(num_examples.values()))}
  return {
    f"batch_size, {field}": f"{_rows_of_batch(config)} draws {rows:,.0f} rows"
    f" from {field} of {count:,} examples: images repeat within a batch"
    for field, (rows, count) in drawn.items()
    if rows > count
  }


def _rows_of_batch(config: config_lib.Config) -> str:
  text = f"batch_size={config.batch_size}"
  if config.curating.is_on:
    text += f" with curating.filter_ratio={config.curating.filter_ratio}"
  return text


def _of_image(config: config_lib.Config) -> dict[str, str]:
  image = config.model.image
  if isinstance(image, vit.ViTConfig):
    side = image.patch_size
  elif isinstance(image, convnext.ConvNeXtConfig):
    side = convnext.PATCH_SIZE
  else:
    return {}  # other towers pad, resize or refuse
  left = image.image_size % side
  if not left:
    return {}
  return {
    "data.image_size": f"data.image_size={image.image_size} is no multiple of"
    f" the image tower's patches of {side} pixels: the last {left} rows and"
    f" columns of each image are cut off"
  }


def _of_sets(config: config_lib.Config) -> dict[str, str]:
  if config.evaluate.has_sets:
    return {}
  return {"evaluate.sets": "evaluate.sets is empty: the run evaluates nothing"}
