"""The section `data.views`: further views of an image, for self-distillation.

A student sees local views, a teacher the global one (SILC, arXiv 2310.13355;
DINO, arXiv 2104.14294, section 3.1). The image itself stays as
`data.augmentation` makes it. Each view has a random generator of its own, whose
seed the example's generator draws after all else: without views an example is
the same to the bit.
"""

import dataclasses

import numpy as np

from input_pipeline.images import augmentation as augmentation_lib
from input_pipeline.images import picture
from runtime import checks, marks

GLOBAL, LOCAL = "global_views", "local_views"


@dataclasses.dataclass(frozen=True)
class ViewsConfig:
  """Fields of the section; configs/parts/views.py explains them."""

  # Augmentations of each kind of view; None, the default, with no views.
  whole: augmentation_lib.Augmentation | None = None
  local: augmentation_lib.Augmentation | None = None
  has_global: marks.Fixed[bool] = False
  num_local: marks.Fixed[int] = 0
  local_size: marks.Fixed[int] = 96

  @property
  def is_on(self) -> bool:
    """Whether examples have views."""
    return self.has_global or self.num_local > 0

  @checks.collected()
  def check(self, image_size: int) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    checks.at_least("data.views.num_local", self.num_local, 0)
    checks.at_least("data.views.local_size", self.local_size, 1)
    if self.num_local and not self.has_global:
      checks.refuse(
        "data.views.has_global must be True with data.views.num_local="
        f"{self.num_local}: local views are compared with the global one; got"
        " False"
      )
    sides = {"whole": image_size, "local": self.local_size}
    for name, size in sides.items():
      section = getattr(self, name)
      if section is None:
        if self.is_on:
          checks.refuse(
            f"data.views.{name} must be an augmentation with data.views; got"
            " None"
          )
        continue
      if section.is_naflex:
        checks.refuse(
          f"data.views.{name}.resize must make squares; got 'naflex'"
        )
      with checks.named(f"data.views.{name}: "), checks.collected():
        section.check(size)

  def shapes(self, size: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and dtype of each array that `arrays` makes.

    Args:
      size: side of a global view in pixels.
    """
    made: dict[str, tuple[tuple[int, ...], type]] = {}
    if self.has_global:
      made[GLOBAL] = ((size, size, 3), np.uint8)
    if self.num_local:
      side = self.local_size
      made[LOCAL] = ((self.num_local, side, side, 3), np.uint8)
    return made

  def arrays(
    self, data: bytes, size: int, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    """Return the views of an encoded image.

    Args:
      data: an encoded image.
      size: side of the global view in pixels.
      rng: generator of the example and step.

    Returns:
      "global_views", uint8 [size, size, 3], and "local_views", uint8
      [num_local, local_size, local_size, 3], those that the section has.

    Raises:
      faults.ExampleError: a broken image, or one smaller than pre_crop.
    """
    if not self.is_on:
      return {}
    assert self.whole is not None  # `check`
    assert self.local is not None
    seeds = iter(rng.integers(2**63, size=1 + self.num_local).tolist())
    whole = picture.open_picture(data)

    def view(section: augmentation_lib.Augmentation, side: int) -> np.ndarray:
      drawn = np.random.Generator(np.random.Philox(next(seeds)))
      return section.changed(whole, side, drawn)

    made = {GLOBAL: view(self.whole, size)}
    if self.num_local:
      made[LOCAL] = np.stack(
        [view(self.local, self.local_size) for _ in range(self.num_local)]
      )
    return made
