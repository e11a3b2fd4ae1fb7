"""Weights between a fine-tuned run and its start (WiSE-FT, arXiv 2109.01903).

The model at alpha has the parameters (1 - alpha) start + alpha tuned: 0 is the
model that the run began with, 1 the run.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from inference import model as model_lib
from models import lora
from models.pretrained import mapping
from runtime import sections
from training import config as config_lib
from training.run import starting_weights, workdir


def check(alphas: Sequence[float]) -> None:
  """Raise ValueError, naming the flag, for alphas that cannot be used."""
  if any(not 0 <= alpha <= 1 for alpha in alphas):
    raise ValueError(
      f"--interpolate must be numbers of 0 to 1; got {[*alphas]}"
    )
  if len(set(alphas)) < len(alphas):
    raise ValueError(
      f"--interpolate must have each number once; got {[*alphas]}"
    )


def line(folder: pathlib.Path, model: model_lib.Model) -> "Line":
  """Return the line between a run's model and its start.

  Args:
    folder: the run's.
    model: the run's model; low-rank updates are merged.

  Raises:
    ValueError: the run began with no weights, or with a part of them only.
  """
  own = workdir.read_config(folder)
  if own is None:
    raise ValueError(f"--interpolate needs a run; got {folder}")
  # A run with phases has the sizes of the newest one.
  own = config_lib.stage_of_checkpoint(own, model.step or 0).config
  read = starting_weights.read(own, model.mesh)
  if own.model.head.classes:
    tokenizer = model.make_tokenizer()
    read = starting_weights.with_head(read, own, model.mesh, tokenizer)
  start = sections.flat(read, "/")
  tuned = model.params
  if own.model.lora.rank:
    tuned = lora.merged(tuned, own.model.lora)
    plain = dataclasses.replace(own.model, lora=lora.LoraConfig())
    model = dataclasses.replace(model, config=plain)
  wanted = sections.flat(tuned, "/")
  if missing := [path for path in wanted if path not in start]:
    raise ValueError(
      "--interpolate needs a run that begins with other weights, by init_from;"
      f" {folder} began {len(missing)} of {len(wanted)} parameters anew, such"
      f" as {missing[0]}"
    )
  return Line(model, {path: start[path] for path in wanted}, wanted)


@dataclasses.dataclass(frozen=True)
class Line:
  """Models between two of the same form.

  Attributes:
    model: the one at 1.
    start: its parameters at 0, by path.
    tuned: its parameters at 1, by path.
  """

  model: model_lib.Model
  start: Mapping[str, jax.Array]
  tuned: Mapping[str, jax.Array]

  def at(self, alpha: float) -> model_lib.Model:
    """Return the model at `alpha`; the ends are the given ones to the bit."""
    if alpha in (0, 1):
      params: Mapping[str, Any] = self.tuned if alpha else self.start
    else:
      params = {
        path: (1 - alpha) * self.start[path] + alpha * x
        for path, x in self.tuned.items()
      }
    return dataclasses.replace(self.model, params=mapping.nested(dict(params)))
