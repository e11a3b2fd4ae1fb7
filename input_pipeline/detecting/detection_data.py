"""Data of a detector: a split's pictures as batches with boxes, filled up.

A picture that cannot be used, as one with a box outside of it, is a fault: it
is replaced by another one and named in data_errors.jsonl, as pairs are
(input_pipeline/examples.py).
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from input_pipeline import examples as examples_lib
from input_pipeline import faults, ledger, loader, mixture, pipeline
from input_pipeline.detecting import layouts
from input_pipeline.images import boxed, picture
from models.detecting import detector
from runtime import checks, marks

# Name of the data in messages, and in the record of what a run has read.
SOURCE = "pictures"
# Size that pictures may have in both directions: that of COCO's recipes.
STRIDE = 32


@dataclasses.dataclass(frozen=True)
class DetectionConfig:
  """Fields of `config.detection`; configs/base.py explains them."""

  layout: marks.Fixed[str] = ""
  path: marks.Free[str] = ""
  train: marks.Fixed[str] = "train2017"
  test: marks.Free[str] = "val2017"
  classes: marks.Fixed[tuple[str, ...]] = ()
  height: marks.Fixed[int] = 800
  width: marks.Fixed[int] = 1344
  scale: marks.Fixed[tuple[float, float]] = (1.0, 1.0)
  flip_probability: marks.Fixed[float] = 0.5
  least_visible: marks.Fixed[float] = 0.25
  max_boxes: marks.Fixed[int] = 100
  model: detector.DetectorConfig = detector.DetectorConfig()

  @property
  def is_on(self) -> bool:
    """Whether the run is one of --task=detect."""
    return bool(self.layout)

  @property
  def num_classes(self) -> int:
    """Classes that are told apart; 1 without names, for objects of any."""
    return max(len(self.classes), 1)

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    if not self.is_on:
      return
    checks.one_of("detection.layout", self.layout, layouts.LAYOUTS)
    for field in ("height", "width"):
      size = getattr(self, field)
      if size < STRIDE or size % STRIDE:
        checks.refuse(
          f"detection.{field} must be a multiple of {STRIDE} pixels; got {size}"
        )
    if not 0 < self.scale[0] <= self.scale[1]:
      checks.refuse(
        "detection.scale must be (low, high) with 0 < low <= high; got"
        f" {self.scale}"
      )
    for field in ("flip_probability", "least_visible"):
      checks.between(f"detection.{field}", getattr(self, field), 0, 1)
    checks.at_least("detection.max_boxes", self.max_boxes, 1)
    if len({*self.classes}) != len(self.classes):
      checks.refuse(
        "detection.classes must have each name once, or be () for objects of"
        f" any class; got {self.classes}"
      )
    self.model.check()

  def check_paths(self) -> None:
    """Raise ValueError for a folder that is not there."""
    if not self.path or not pathlib.Path(self.path).is_dir():
      checks.refuse(
        f"detection.path must be a folder on disk; got {self.path!r}"
      )

  def read(self, field: str) -> layouts.Pictures:
    """Return the pictures of a split.

    Args:
      field: "train" or "test".

    Raises:
      ValueError: no such split, none of its boxes is of `classes`, or a picture
        has more than `max_boxes` of them.
    """
    name = f"detection.{field}"
    pictures = layouts.read(
      pathlib.Path(self.path), self.layout, getattr(self, field), name
    )
    counts = [len(self.boxes_of(one)[0]) for one in pictures.listed]
    if not any(counts):
      raise ValueError(
        f"{name}={getattr(self, field)!r} must have boxes of detection.classes="
        f"{self.classes}; got none in {len(pictures)} pictures"
      )
    if field == "train" and max(counts) > self.max_boxes:
      raise ValueError(
        "detection.max_boxes must be at least the most boxes of a picture,"
        f" {max(counts)}; got {self.max_boxes}"
      )
    return pictures

  def boxes_of(
    self, one: layouts.Picture
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes, classes and crowds of a picture that are of `classes`."""
    if not self.classes:
      label_M = np.zeros(len(one.box_M4), np.int32)
      return one.box_M4, label_M, one.is_crowd_M
    number = {name: i for i, name in enumerate(self.classes)}
    label_M = np.array([number.get(x, -1) for x in one.labels], np.int32)
    is_known_M = label_M >= 0
    return (
      one.box_M4[is_known_M],
      label_M[is_known_M],
      one.is_crowd_M[is_known_M],
    )


@dataclasses.dataclass(frozen=True)
class Opened:
  """A picture whose boxes were checked.

  Attributes:
    name: path below the folder of the set.
    image: picture, decoded when its pixels are read.
    box_M4: boxes, cut off at its sides.
    label_M: int32 classes.
    is_crowd_M: bool, whether a box is around many objects.
  """

  name: str
  image: picture.Picture
  box_M4: np.ndarray
  label_M: np.ndarray
  is_crowd_M: np.ndarray


def open_picture(config: DetectionConfig, one: layouts.Picture) -> Opened:
  """Return a picture with its boxes of `classes`.

  Raises:
    faults.ExampleError: its file is missing or broken, or a box of any class
      is outside of it, without area or not finite.
  """
  if one.problem:
    raise faults.ExampleError(*one.problem)
  try:
    data = one.path.read_bytes()
  except FileNotFoundError as error:
    raise faults.ExampleError(
      "file_missing", f"there is no file {one.path}"
    ) from error
  except OSError as error:
    raise faults.ExampleError("read_failed", f"{one.path}: {error}") from error
  with faults.located(one.name):
    image = picture.open_picture(data)
    boxed.check(one.box_M4, image.height, image.width)
  box_M4, label_M, is_crowd_M = config.boxes_of(one)
  box_M4 = boxed.check(box_M4, image.height, image.width)
  return Opened(one.name, image, box_M4, label_M, is_crowd_M)


@dataclasses.dataclass(frozen=True)
class Maker:
  """Maker of training examples; the arrays depend on seed and position alone.

  Attributes:
    repeated: (position, attempt) -> fault of the run before it was resumed.
  """

  config: DetectionConfig
  pictures: layouts.Pictures
  seed: int
  repeated: Mapping[tuple[int, int], faults.Fault]

  def __call__(self, draw: mixture.Draw) -> dict[str, Any]:
    """Return the arrays of one picture, and the faults of those it replaces."""
    left_out: list[faults.Fault] = []
    index = draw.index
    for attempt in range(examples_lib.MAX_ATTEMPTS):
      slot = (draw.position, attempt)
      one = self.pictures.listed[index]
      if slot in self.repeated:
        left_out.append(self.repeated[slot])
      else:
        try:
          rng = examples_lib.rng(self.seed, *slot)
          arrays = self.arrays(one, rng)
          return arrays | {examples_lib.FAULTS: tuple(left_out)}
        except faults.ExampleError as error:
          facts = (*slot, SOURCE, index, one.name, error.kind, str(error))
          left_out.append(faults.Fault(*facts))
      index = examples_lib.substitute(self.seed, *slot, len(self.pictures))
    last = left_out[-1]
    raise ValueError(
      f"{self.pictures.field}: {len(left_out)} pictures in a row cannot be"
      f" used; the last one ({last.key}) has {last.kind}: {last.message}"
    )

  def arrays(
    self, one: layouts.Picture, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    """Return a picture in its frame and its boxes, filled up with zeros.

    Boxes around many objects are left out.
    """
    config = self.config
    opened = open_picture(config, one)
    single_M = (~opened.is_crowd_M).nonzero()[0]
    placed = boxed.place(
      *(opened.image, opened.box_M4[single_M], config.height, config.width),
      rng,
      scale=config.scale,
      flip_probability=config.flip_probability,
      least_visible=config.least_visible,
    )
    num = len(placed.box_M4)
    box_M4 = np.zeros((config.max_boxes, 4), np.float32)
    label_M = np.zeros(config.max_boxes, np.int32)
    box_M4[:num] = placed.box_M4
    label_M[:num] = opened.label_M[single_M][placed.kept_M]
    return {
      "images": placed.pixels,
      "boxes": box_M4,
      "labels": label_M,
      "mask": np.arange(config.max_boxes) < num,
    }


def make_loader(
  config: DetectionConfig,
  data: pipeline.DataConfig,
  pictures: layouts.Pictures,
  *,
  batch_size: int,
  seed: int,
  folder: pathlib.Path | None,
) -> loader.Loader:
  """Return endless batches of a split, in a new order each epoch.

  Args:
    config: section `detection`.
    data: section `data`, for threads and the share of bad examples.
    pictures: split that is trained on.
    batch_size: pictures of a batch.
    seed: seed of the order and of the examples.
    folder: folder of the run, for the record of its data; None writes none.
  """
  record = ledger.Ledger(folder, batch_size=batch_size, process_index=0)
  maker = Maker(
    config, pictures, examples_lib.example_seed(seed), record.repeated
  )
  union = mixture.Union([0], [len(pictures)], [1])
  order = grain.MapDataset.source(union).seed(seed).shuffle().repeat()
  rows = tuple(range(batch_size))
  dataset = (
    grain.MapDataset.source(mixture.Share(order, batch_size, rows))
    .map(maker)
    .batch(batch_size, drop_remainder=True, batch_fn=examples_lib.stack)
    .to_iter_dataset(
      grain.ReadOptions(
        num_threads=data.num_threads,
        prefetch_buffer_size=data.num_prefetch_batches,
      )
    )
  )
  return loader.Loader(
    dataset,
    ledger=record,
    max_bad_fraction=data.max_bad_fraction,
    facts={SOURCE: ledger.Facts(len(pictures), pictures.digest)},
  )


@dataclasses.dataclass(frozen=True)
class EvaluationBatch:
  """Pictures of an evaluation, none of them random.

  Attributes:
    images: uint8 [B, Y, X, 3]; the last batch repeats its last picture.
    opened: annotations of those that are counted, at most B.
    factors: (horizontal, vertical) pixels of the frame for one of each picture.
  """

  images: np.ndarray
  opened: tuple[Opened, ...]
  factors: tuple[tuple[float, float], ...]


def evaluation_batches(
  config: DetectionConfig,
  pictures: layouts.Pictures,
  size: int,
  left_out: list[faults.ExampleError],
) -> Iterator[EvaluationBatch]:
  """Yield the pictures of a split once, in order.

  Args:
    config: section `detection`.
    pictures: split.
    size: B, pictures of a batch.
    left_out: receives the faults of pictures that cannot be used.
  """
  waiting: list[tuple[Opened, boxed.Placed]] = []
  for one in pictures.listed:
    try:
      opened = open_picture(config, one)
      placed = boxed.place(
        *(opened.image, opened.box_M4, config.height, config.width),
        None,
        scale=(1.0, 1.0),
        flip_probability=0.0,
        least_visible=0.0,
      )
    except faults.ExampleError as error:
      left_out.append(error)
      continue
    waiting.append((opened, placed))
    if len(waiting) == size:
      yield _evaluation_batch(waiting, size)
      waiting = []
  if waiting:
    yield _evaluation_batch(waiting, size)


def _evaluation_batch(
  waiting: Sequence[tuple[Opened, boxed.Placed]], size: int
) -> EvaluationBatch:
  pixels = [placed.pixels for _, placed in waiting]
  pixels += [pixels[-1]] * (size - len(pixels))
  return EvaluationBatch(
    np.stack(pixels),
    tuple(opened for opened, _ in waiting),
    tuple(placed.factor for _, placed in waiting),
  )
