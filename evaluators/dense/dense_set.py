"""Sets of images with a map each: a mask of classes, or depths."""

import dataclasses
from collections.abc import Sequence

from evaluators.metrics import dense as dense_metrics
from runtime import checks

SEGMENTATION, DEPTH = KINDS = dense_metrics.KINDS
# Names that a message lists.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Item:
  """An image and its map: paths, on disk or at a URL."""

  image: str
  map: str


@dataclasses.dataclass(frozen=True)
class Classes:
  """Meaning of the values of masks.

  Attributes:
    names: classes in the order of their values.
    first: value of the first class; values below it are void.
    void: values above those of the classes that are of no class.
  """

  names: tuple[str, ...]
  first: int = 0
  void: tuple[int, ...] = ()

  @checks.collected()
  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    checks.at_least(f"{field}: number of classes", len(self.names), 2)
    if len({*self.names}) < len(self.names) or "" in self.names:
      checks.refuse(
        f"{field}: names of classes must differ, and none be empty; got"
        f" {', '.join(self.names)}"
      )
    checks.at_least(f"{field}: first", self.first, 0)
    end = self.first + len(self.names)
    for value in self.void:
      if self.first <= value < end or not 0 <= value < 2**16:
        checks.refuse(
          f"{field}: void must be values of no class, 0 to 65535; got {value},"
          f" with classes from {self.first} to {end - 1}"
        )


@dataclasses.dataclass(frozen=True)
class Depths:
  """Meaning of the values of depth maps, where 0 is no measurement.

  Attributes:
    units_per_metre: value of a pixel one metre away.
    min_metres: depths at or below are left out, and no lower one is predicted.
    max_metres: depths at or above are left out, and no higher one is predicted.
    crop: (top, bottom, left, right) of the pixels of test maps that are judged;
      () for all.
    shape: height and width that all test maps must have for `crop`; () for any.
  """

  units_per_metre: float
  min_metres: float = 1e-3
  max_metres: float = 10.0
  crop: tuple[int, ...] = ()
  shape: tuple[int, ...] = ()

  @checks.collected()
  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    checks.above(f"{field}: units_per_metre", self.units_per_metre, 0)
    checks.above(f"{field}: min_metres", self.min_metres, 0)
    checks.above(f"{field}: max_metres", self.max_metres, self.min_metres)


@dataclasses.dataclass(frozen=True)
class DenseSet:
  """Images to train a probe on, and images to judge it on.

  Attributes:
    name: name of the set in results.
    rule: meaning of the values of its maps.
    train: images that the head learns from, and its learning rate is chosen on.
    test: images that figures are taken on.
    layout: form of its files, in words.
  """

  name: str
  rule: Classes | Depths
  train: tuple[Item, ...]
  test: tuple[Item, ...]
  layout: str

  @property
  def kind(self) -> str:
    """Return SEGMENTATION or DEPTH."""
    return SEGMENTATION if isinstance(self.rule, Classes) else DEPTH

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError, naming the set, where its images cannot be used.

    No file is read.
    """
    self.rule.check(self.name)
    checks.at_least(
      f"{self.name}: number of training images", len(self.train), 2
    )
    checks.at_least(f"{self.name}: number of test images", len(self.test), 1)
    for split, items in (("training", self.train), ("test", self.test)):
      _refuse_some(
        f"{self.name}: a {split} image must be listed once",
        _twice([item.image for item in items]),
      )
    _refuse_some(
      f"{self.name}: an image must be of training or of the test, not of both",
      sorted({x.image for x in self.train} & {x.image for x in self.test}),
    )


def _twice(names: Sequence[str]) -> list[str]:
  """Return the names that occur more than once."""
  seen: set[str] = set()
  return [name for name in names if name in seen or seen.add(name)]


def _refuse_some(rule: str, names: Sequence[str]) -> None:
  if names:
    shown = ", ".join(names[:_NUM_NAMED])
    checks.refuse(f"{rule}; got {len(names)} that are, as {shown}")
