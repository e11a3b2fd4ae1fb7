"""The fused warp of images, beside torchvision's affine then perspective.

  taskset -c 0 .venv-parity/bin/python -m benchmarks.warping

The environment is that of tests/parity, with torchvision, as .ci/run makes it.
Both change photographs of 224 pixels square in the wheel of scikit-image (or of
--photos) by PLIP's ranges: torchvision by RandomAffine and RandomPerspective on
Pillow's images, ours from array to array, both with their draws, bilinearly, on
one core. "both" has a perspective in every image, "plip" in 0.3 of them.

The contestants take turns, all photographs --repeats times each, forwards and
backwards in alternation. ms is the median turn's time for one image; the ratio
is the median of the rounds' ratios, above 1 if ours is faster.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from benchmarks import photos, rounds
from input_pipeline.images import warping
from tests.parity import torchvision_loading

_PHOTOS = flags.DEFINE_string("photos", "", "Folder of images or tars of them.")
_ROUNDS = flags.DEFINE_integer(
  "rounds", 15, "Turns of each contestant.", lower_bound=1
)
_REPEATS = flags.DEFINE_integer(
  "repeats", 10, "Changes of each photograph in a turn.", lower_bound=1
)

_SIZE = 224


def make_peer(probability: float) -> Callable[[Image.Image], object]:
  """Return torchvision's two changes, by PLIP's ranges."""
  torchvision_loading.load()
  import torch
  from torchvision import transforms

  torch.set_num_threads(1)
  bilinear = transforms.InterpolationMode.BILINEAR
  return transforms.Compose(
    [
      transforms.RandomAffine(
        degrees=10,
        translate=(0.1, 0.1),
        scale=(0.8, 1.2),
        shear=(-15, 15, -15, 15),
        interpolation=bilinear,
        fill=127,
      ),
      transforms.RandomPerspective(
        distortion_scale=0.3, p=probability, interpolation=bilinear, fill=127
      ),
    ]
  )


def make_ours(probability: float) -> Callable[[np.ndarray], np.ndarray]:
  """Return the fused warp, by PLIP's ranges."""
  rng = np.random.default_rng(0)
  config = warping.WarpConfig(
    degrees=10.0,
    translate=(0.1, 0.1),
    scale=(0.8, 1.2),
    shear=(15.0, 15.0),
    distortion=0.3,
    perspective_probability=probability,
    fill=127,
  )
  return lambda image: warping.random_warp(image, rng, config)


def make_timed(
  change: Callable[..., object], images: Sequence[object]
) -> rounds.Timed:
  """Return a function that returns its seconds for one image."""

  def timed() -> float:
    start = time.perf_counter()
    for _ in range(_REPEATS.value):
      for image in images:
        change(image)
    return (time.perf_counter() - start) / (_REPEATS.value * len(images))

  timed()  # warms up
  return timed


def main(argv: Sequence[str]) -> None:
  del argv
  pictures = [
    photo.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)
    for photo in photos.read(_PHOTOS.value)
  ]
  arrays = [np.asarray(picture) for picture in pictures]
  for name, probability in (("both", 1.0), ("plip", 0.3)):
    seconds = rounds.measure(
      {
        "ours": make_timed(make_ours(probability), arrays),
        "torchvision": make_timed(make_peer(probability), pictures),
      },
      _ROUNDS.value,
    )
    row: dict[str, object] = {"changes": name, "num_images": len(arrays)}
    row |= {f"{k}_ms": 1000 * statistics.median(v) for k, v in seconds.items()}
    row["ratio"] = statistics.median(
      theirs / ours
      for ours, theirs in zip(
        seconds["ours"], seconds["torchvision"], strict=True
      )
    )
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
  app.run(main)
