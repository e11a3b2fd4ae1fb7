"""Runs read from their folders, to be set beside each other."""

import dataclasses
import glob
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.sets import old_fields
from runtime import marks, sections
from runtime.storage import jsonl
from training import config as config_lib
from training.comparison import figures as figures_lib
from training.run import starts, workdir

_SECONDS_PER_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class Run:
  """One run.

  Attributes:
    name: its folder, without what all folders have in common.
    folder: its folder.
    fields: path of a config field -> value.
    figures: name -> final figure.
    curves: name -> (steps [N], values [N]), of figures with two points or more.
    step: last step in its metrics.
    gflop: GFLOP of a step; 0 where unknown.
    rates: (steps [N], images a second [N]).
    commit: of the code that began it.
    cost: time and energy of all its starts; None: no record of them.
  """

  name: str
  folder: pathlib.Path
  fields: Mapping[str, Any]
  figures: Mapping[str, float]
  curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
  step: int
  gflop: float
  rates: tuple[np.ndarray, np.ndarray]
  commit: str
  cost: starts.Total | None = None

  @property
  def is_complete(self) -> bool:
    """Whether all steps are done and evaluated."""
    is_last = self.step >= self.fields["total_steps"]
    return is_last and (self.folder / workdir.RESULTS).exists()

  def hours(self, steps: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return hours of training until steps, evaluation and saving left out.

    NaN where the run did not last long enough for a rate.
    """
    steps = np.asarray(steps, float)
    at, rates = self.rates
    if not len(at):
      return np.full(len(steps), np.nan)
    # A rate is the mean since the start.
    rate = np.interp(steps, at, rates)
    hours = steps * self.fields["batch_size"] / rate / _SECONDS_PER_HOUR
    return np.maximum.accumulate(hours)


def find(patterns: Sequence[str]) -> list[pathlib.Path]:
  """Return the folders of runs that patterns of --workdirs match, sorted.

  Raises:
    ValueError: a pattern matches no run.
  """
  folders: dict[pathlib.Path, None] = {}
  for pattern in patterns:
    paths = sorted(map(pathlib.Path, glob.glob(pattern)))
    runs = [path for path in paths if workdir.has_config(path)]
    if not runs:
      raise ValueError(
        f"--workdirs={pattern} must match folders of runs, which have"
        f" {workdir.CONFIG}; got {len(paths)} paths without one"
      )
    folders |= dict.fromkeys(runs)
  return list(folders)


def read(folders: Sequence[pathlib.Path]) -> list[Run]:
  """Return the runs in folders.

  Raises:
    ValueError: a file of a run cannot be read; the message names it.
  """
  parent = os.path.commonpath([folder.resolve().parent for folder in folders])
  return [
    _read(folder, os.path.relpath(folder.resolve(), parent))
    for folder in folders
  ]


def differing(runs: Sequence[Run]) -> list[str]:
  """Return the config fields that differ, but those of one machine."""
  names = dict.fromkeys(name for run in runs for name in run.fields)
  return [
    name
    for name in names
    if len({json.dumps(run.fields.get(name)) for run in runs}) > 1
    and not _is_local(name)
  ]


def _read(folder: pathlib.Path, name: str) -> Run:
  path = folder / workdir.CONFIG
  try:
    record = json.loads(path.read_text())
    fields = sections.flat(old_fields.upgraded(record["config"]))
    fields["total_steps"] = int(fields["total_steps"])
    fields["batch_size"] = int(fields["batch_size"])
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} must be a run's config; {error!r}") from error
  lines = jsonl.read(folder / workdir.METRICS)
  points: dict[str, dict[int, float]] = {}
  for line in lines:
    for key, value in line.items():
      if key != "step" and isinstance(value, int | float):
        points.setdefault(key, {})[line["step"]] = float(value)
  gflops = points.get("compile/step_gflop", {})
  return Run(
    name=name,
    folder=folder,
    fields=fields,
    figures=figures_lib.read(folder),
    curves={
      key: _curve(values)
      for key, values in points.items()
      if len(values) > 1 and key.split("/")[0] not in ("compile", "time")
    },
    step=max((line["step"] for line in lines), default=0),
    gflop=list(gflops.values())[-1] if gflops else 0.0,
    rates=_curve(points.get("time/images_per_s", {})),
    commit=record.get("commit", ""),
    cost=starts.total(folder),
  )


def _curve(points: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
  pairs = np.array(sorted(points.items()), float).reshape(-1, 2)
  return pairs[:, 0], pairs[:, 1]


def _is_local(name: str) -> bool:
  try:
    return marks.of(config_lib.Config, name).is_local
  except KeyError:  # of another version
    return False
