"""Write what torchvision's augmentations make of images, and draw.

  python -m tests.input_pipeline.images.golden.make_augmented

In an environment with torchvision 0.29.1 and Pillow; nothing of this project
runs here.
"""

import numpy as np
from PIL import Image

from tests.input_pipeline.images.golden import make_images

FOLDER = make_images.FOLDER
SIZE = make_images.SIZE
# Indices in make_images.images(): 47 x 61 and 64 x 45 pixels, height first.
IMAGES = (0, 1)
# Top, left, height, width of resized_crop.
CROP = (3, 5, 40, 38)
# Name -> (function of torchvision.transforms.functional, its arguments).
CHANGES = {
  "brightness_low": ("adjust_brightness", 0.4),
  "brightness_high": ("adjust_brightness", 1.7),
  "contrast_low": ("adjust_contrast", 0.3),
  "contrast_high": ("adjust_contrast", 1.9),
  "saturation_low": ("adjust_saturation", 0.2),
  "saturation_high": ("adjust_saturation", 1.8),
  "hue_low": ("adjust_hue", -0.31),
  "hue_high": ("adjust_hue", 0.1),
  "gray": ("to_grayscale", 3),
  "posterize": ("posterize", 4),
  "solarize": ("solarize", 128),
  "autocontrast": ("autocontrast",),
  "equalize": ("equalize",),
  "invert": ("invert",),
  "sharpness": ("adjust_sharpness", 1.9),
}
# (height, width), (lowest, highest area): drawn with the ratios 3/4 to 4/3.
# The last is too narrow for any draw: the centre.
DRAWS = (
  ((400, 500), (0.9, 1.0)),
  ((400, 500), (0.08, 1.0)),
  ((500, 150), (0.3, 1.0)),
  ((60, 400), (0.9, 1.0)),
)
NUM_DRAWS = 20_000


def images() -> list[np.ndarray]:
  """Return the images that are changed."""
  return [make_images.images()[index] for index in IMAGES]


def main() -> None:
  """Write torchvision_images.npz and torchvision_draws.npz."""
  import torch
  from torchvision import transforms
  from torchvision.transforms import functional

  arrays = {}
  for number, array in enumerate(images()):
    image = Image.fromarray(array)
    for name, (function, *arguments) in CHANGES.items():
      changed = getattr(functional, function)(image, *arguments)
      arrays[f"{name}_{number}"] = np.asarray(changed)
    for name in ("bicubic", "bilinear"):
      mode = transforms.InterpolationMode(name)
      cut = functional.resized_crop(image, *CROP, [SIZE, SIZE], mode)
      arrays[f"resized_crop_{name}_{number}"] = np.asarray(cut)
      shortest = functional.resize(image, [SIZE], mode)
      squashed = functional.resize(image, [SIZE + 7] * 2, mode)
      arrays[f"shortest_{name}_{number}"] = np.asarray(shortest)
      arrays[f"squash_{name}_{number}"] = np.asarray(squashed)
  assert all(array.dtype == np.uint8 for array in arrays.values())
  np.savez_compressed(FOLDER / "torchvision_images.npz", **arrays)

  torch.manual_seed(0)
  moments = []
  for (height, width), scale in DRAWS:
    blank = torch.zeros(3, height, width)
    drawn = np.array(
      [
        transforms.RandomResizedCrop.get_params(blank, scale, (3 / 4, 4 / 3))
        for _ in range(NUM_DRAWS)
      ],
      np.float64,
    )
    moments.append([drawn.mean(0), drawn.std(0)])
  np.savez_compressed(
    FOLDER / "torchvision_draws.npz", moments=np.array(moments)
  )


if __name__ == "__main__":
  main()
