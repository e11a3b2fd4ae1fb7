"""MLflow: a run that a tag with our id finds again, in MLFLOW_TRACKING_URI.

The project is the experiment; the config is in the parameters, which MLflow
lets nobody change, and the record of the first start in the tags.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlflow
from mlflow import entities

from runtime import sections

_ID = "diptych.id"
# Most items of a request, and characters of a parameter and of a tag.
_MOST_METRICS, _MOST_PARAMS = 1000, 100
_MOST_CHARS = 5000
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


class Tracker:
  """Run of MLflow; see tracking_process.py."""

  def __init__(self, about: Mapping[str, Any]):
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    self._client = mlflow.MlflowClient()
    project = about["project"]
    known = self._client.get_experiment_by_name(project)
    experiment = (
      known.experiment_id if known else self._client.create_experiment(project)
    )
    runs = self._client.search_runs(
      [experiment], filter_string=f"tags.`{_ID}` = '{about['id']}'"
    )
    run = runs[0] if runs else self._new(experiment, about)
    self._id = run.info.run_id
    self.url = ""
    # Only the newest value of each has a step without reading all.
    self.last_step = max(
      (metric.step for metric in run.data._metric_objs), default=-1
    )
    self._client.update_run(self._id, status="RUNNING")

  def _new(self, experiment: str, about: Mapping[str, Any]) -> entities.Run:
    record = _flat(about["record"])
    run = self._client.create_run(
      experiment,
      run_name=about["run_name"],
      tags={_ID: about["id"], **record},
    )
    params = [
      entities.Param(_name(name), value)
      for name, value in _flat(about["config"]).items()
    ]
    for part in _parts(params, _MOST_PARAMS):
      self._client.log_batch(run.info.run_id, params=part)
    return run

  def log(self, steps: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    now = int(time.time() * 1000)
    points = [
      entities.Metric(_name(name), value, now, step)
      for step, figures in steps
      for name, value in figures.items()
    ]
    for part in _parts(points, _MOST_METRICS):
      self._client.log_batch(self._id, metrics=part)

  def close(self, *, is_finished: bool) -> None:
    self._client.set_terminated(
      self._id, "FINISHED" if is_finished else "KILLED"
    )


def begin(about: Mapping[str, Any]) -> Tracker:
  """Return the run; see tracking_process.py."""
  return Tracker(about)


def _name(name: str) -> str:
  """Return a name without characters that MLflow refuses.

  >>> _name("retrieval/image_to_text/R@1")
  'retrieval/image_to_text/R_at_1'
  """
  return _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
  return {
    name: str(value)[:_MOST_CHARS]
    for name, value in sections.flat(values).items()
  }


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
  for start in range(0, len(items), size):
    yield items[start : start + size]
