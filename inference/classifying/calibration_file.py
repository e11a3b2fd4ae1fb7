"""Calibration of labels: a JSON file of one model and its texts."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from inference.classifying import curves
from inference.classifying import labels as labels_lib
from runtime.storage import strict_json, whole_files

_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Curves and thresholds of labels.

  Attributes:
    labels: labels with their texts.
    model: path, digest and inputs of the model that they are of.
    kind: scores.Kind of the evidence.
    method: key of curves.METHODS.
    target: value of --target.
    source: pictures that it was made with, and their number.
    per_label: curve, threshold and figures of each label, as fitting.fit
      returns them.
    versions: versions of libraries.
  """

  labels: labels_lib.Labels
  model: Mapping[str, Any]
  kind: str
  method: str
  target: str
  source: Mapping[str, Any]
  per_label: Sequence[Mapping[str, Any]]
  versions: Mapping[str, str]

  @property
  def threshold_A(self) -> np.ndarray:
    """Lowest probability that is given each label, infinite for never."""
    found = [one["threshold"] for one in self.per_label]
    return np.array([math.inf if x is None else x for x in found], np.float64)

  def is_flat(self, name: str) -> bool:
    """Return whether a label has the same probability whatever its evidence."""
    at = self.labels.names.index(name)
    far_2 = self._curves()[at](np.array([-1e9, 1e9]))
    return bool(far_2[0] == far_2[1])

  def probabilities(self, evidence_nA: np.ndarray) -> np.ndarray:
    """Return the probability of each label by itself: float64 [n, A]."""
    return curves.apply(self._curves(), evidence_nA)

  def _curves(self) -> list[curves.Curve]:
    kind = curves.METHODS[self.method]
    return [kind.of_facts(one["curve"]) for one in self.per_label]

  def facts(self) -> dict[str, Any]:
    """Return all as values for JSON."""
    per_label = zip(self.labels.names, self.per_label, strict=True)
    return {
      "version": _VERSION,
      "model": dict(self.model),
      "kind": self.kind,
      **self.labels.texts(),
      "method": self.method,
      "target": self.target,
      "pictures": dict(self.source),
      "per_label": [{"label": name, **one} for name, one in per_label],
      "versions": dict(self.versions),
    }

  def write(self, path: pathlib.Path) -> None:
    """Write the file whole."""
    text = strict_json.dumps(self.facts(), indent=2, ensure_ascii=False)
    whole_files.write(path, text.encode() + b"\n")

  @classmethod
  def read(cls, path: pathlib.Path) -> Self:
    """Return a file's calibration.

    Raises:
      ValueError: there is no such file, or it is none of a calibration.
    """
    if not path.is_file():
      raise ValueError(
        f"--calibration={path} is no file; --calibrate=FILE --out={path} writes"
        " one"
      )
    try:
      facts = json.loads(path.read_text("utf-8"))
      if facts["version"] != _VERSION:
        raise ValueError(f"it is of version {facts['version']}")
      per_label = [
        {name: one[name] for name in ("curve", "threshold", "figures")}
        for one in facts["per_label"]
      ]
      names = tuple(one["label"] for one in facts["per_label"])
      if names != tuple(facts["labels"]):
        raise ValueError("its labels are not those of per_label")
      made = cls(
        labels=labels_lib.Labels(
          names,
          tuple(facts["templates"]),
          tuple(facts["background"]),
          str(path),
        ),
        model=facts["model"],
        kind=facts["kind"],
        method=facts["method"],
        target=facts["target"],
        source=facts["pictures"],
        per_label=per_label,
        versions=facts["versions"],
      )
      made.probabilities(np.zeros((1, len(names))))
      _ = made.threshold_A, made.model["digest"], made.model["inputs"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f"--calibration={path} is no calibration that --calibrate wrote:"
        f" {error!r}"
      ) from error
    return made

  def check_texts(self, flag: str, value: Sequence[str], own: str) -> None:
    """Raise ValueError where a flag's texts are not those of the file."""
    mine = getattr(self.labels, own)
    if tuple(value) != mine:
      raise ValueError(
        f"--{flag} must be what the calibration was made with,"
        f" {list(mine[:5])}{' ...' if len(mine) > 5 else ''}; got"
        f" {list(value[:5])}; leave it out"
      )

  def check_model(self, model: Mapping[str, Any]) -> None:
    """Raise ValueError for another model, or another one's inputs."""
    for name in ("digest", "inputs"):
      if self.model[name] != model[name]:
        raise ValueError(
          f"--calibration is of the model {self.model['path']} (digest"
          f" {self.model['digest']}); {model['path']} has another {name}"
          f" (digest {model['digest']}): calibrate it by --calibrate"
        )
