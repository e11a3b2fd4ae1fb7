"""The section `data.augmentation`: from encoded images to training inputs."""

import dataclasses
import math

import numpy as np

from input_pipeline import image_ops


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Fields of the section; configs/base.py explains them."""

  crop_scale: tuple[float, float]
  flip_probability: float

  def check(self, image_size: int) -> None:
    """Raise ValueError, naming the field, for a value of no use."""
    del image_size
    if not 0 < self.crop_scale[0] <= self.crop_scale[1] < math.inf:
      raise ValueError(
        "data.augmentation.crop_scale must be (low, high) with 0 < low <= "
        f"high, got {self.crop_scale}"
      )
    if not 0 <= self.flip_probability <= 1:
      raise ValueError(
        "data.augmentation.flip_probability must be between 0 and 1, got "
        f"{self.flip_probability}"
      )

  def apply(
    self, data: bytes, size: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Return uint8 [size, size, 3]; faults.ExampleError for a broken image."""
    image = image_ops.random_crop(
      image_ops.decode(data), rng, size=size, scale=self.crop_scale
    )
    return image_ops.random_flip(image, rng, probability=self.flip_probability)
