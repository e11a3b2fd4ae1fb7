"""Boxes that a run's detector finds in pictures, and their figures."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from evaluators import embedding, suite
from evaluators.metrics import detection as figures
from evaluators.metrics import intervals
from input_pipeline import faults
from input_pipeline.detecting import detection_data, layouts
from models.detecting import decoding
from runtime import mesh as mesh_lib
from runtime.storage import whole_files
from training import config as config_lib
from training.objectives import detection as detection_lib

# File of the boxes that the last evaluation found, a line a picture.
DETECTIONS = "detections.jsonl"
# The loop writes no interval.
_FEW_RESAMPLES = 1


@dataclasses.dataclass(frozen=True)
class Found:
  """A split, detected.

  Attributes:
    names: pictures that could be used.
    truth: annotated boxes of each.
    found: boxes that were found in it, in its own pixels.
    left_out: faults of the others.
  """

  names: list[str]
  truth: list[figures.Boxes]
  found: list[figures.Boxes]
  left_out: list[faults.ExampleError]


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Data of a run, and the function that finds boxes in pictures.

  Attributes:
    detect_fn: (variables, images) -> decoding.Detections.
    should_stop: whether the run is to end; asked before each batch.
  """

  config: config_lib.Config
  folder: pathlib.Path
  pictures: layouts.Pictures
  mesh: jax.sharding.Mesh
  detect_fn: Callable[[Any, jax.Array], decoding.Detections]
  should_stop: Callable[[], bool]

  @property
  def name(self) -> str:
    """Name of the split's figures."""
    return self.config.detection.test

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return figures of the split, as the loop writes them.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    del step_seconds  # each evaluation takes the whole split
    record = self._record(self.detect(variables), _FEW_RESAMPLES)
    return {f"{self.name}/{name}": record[name] for name in record["chance"]}

  def final(
    self, variables: Any, selected: Mapping[str, Any] | None
  ) -> suite.Results:
    """Return the results of the run; write the boxes that were found."""
    found = self.detect(variables)
    section = self.config.detection
    protocol = figures.protocol() | {
      "num_examples": len(found.truth),
      "data_digest": self.pictures.digest,
      "dtype": self.config.model.dtype,
      "frame": [section.height, section.width],
      "classes": [*section.classes],
      "score_threshold": decoding.SCORE_THRESHOLD,
      "nms_threshold": decoding.NMS_THRESHOLD,
    }
    if selected is not None:
      protocol["selected"] = dict(selected)
    self._write(found)
    return {self.name: self._record(found) | {"protocol": protocol}}

  def detect(self, variables: Any) -> Found:
    """Find the boxes of the split's pictures."""
    made = Found([], [], [], [])
    size = self.config.evaluate.batch_size
    section = self.config.detection
    batches = detection_data.evaluation_batches(
      section, self.pictures, size, made.left_out
    )
    with jax.set_mesh(self.mesh):
      for batch in batches:
        if self.should_stop():
          raise embedding.Interrupted
        images = mesh_lib.make_global(batch.images, self.mesh)
        got = jax.device_get(self.detect_fn(variables, images))
        for row, (opened, factor) in enumerate(
          zip(batch.opened, batch.factors, strict=True)
        ):
          made.names.append(opened.name)
          made.truth.append(
            figures.Boxes(
              opened.box_M4, opened.label_M, is_crowd_M=opened.is_crowd_M
            )
          )
          made.found.append(_in_picture(got, row, opened, factor))
    return made

  def _record(
    self, found: Found, num_resamples: int = intervals.NUM_RESAMPLES
  ) -> dict[str, Any]:
    if not found.truth:
      raise ValueError(
        f"detection.test={self.name!r}: none of its {len(self.pictures)}"
        f" pictures can be used; the first one has {found.left_out[0].kind}:"
        f" {found.left_out[0]}"
      )
    record = figures.record(
      found.truth,
      found.found,
      self.config.detection.num_classes,
      num_resamples=num_resamples,
    )
    return record | {"num_left_out": len(found.left_out)}

  def _write(self, found: Found) -> None:
    lines = []
    names = self.config.detection.classes
    for name, boxes in zip(found.names, found.found, strict=True):
      assert boxes.score_M is not None  # they were found
      line: dict[str, Any] = {
        "image": name,
        "boxes": boxes.box_M4.round(2).tolist(),
        "scores": boxes.score_M.round(4).tolist(),
      }
      if names:
        line["labels"] = [names[label] for label in boxes.label_M]
      lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    whole_files.write(self.folder / DETECTIONS, "".join(lines).encode())


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  pictures: layouts.Pictures,
  *,
  folder: pathlib.Path,
  should_stop: Callable[[], bool],
) -> Evaluator:
  """Return the evaluator of a run; compiles nothing yet."""
  detect_fn = jax.jit(
    detection_lib.detect_fn(config), out_shardings=mesh_lib.replicated(mesh)
  )
  return Evaluator(config, folder, pictures, mesh, detect_fn, should_stop)


def _in_picture(
  got: decoding.Detections,
  row: int,
  opened: detection_data.Opened,
  factor: tuple[float, float],
) -> figures.Boxes:
  """Return the boxes of a picture in its own pixels, inside of it."""
  is_box_M = np.asarray(got.score_bM[row]) > 0
  box_M4 = np.asarray(got.box_bM4[row], np.float64)[is_box_M]
  box_M4 /= np.array([*factor, *factor])
  size = [opened.image.width, opened.image.height]
  box_M4 = np.clip(box_M4, 0, [*size, *size])
  label_M, score_M = (
    np.asarray(x[row])[is_box_M] for x in (got.label_bM, got.score_bM)
  )
  return figures.Boxes(box_M4, label_M, score_M)
