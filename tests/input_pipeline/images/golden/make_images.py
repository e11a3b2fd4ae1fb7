"""Write what open_clip, transformers and TensorFlow make of odd images.

  python -m tests.input_pipeline.images.golden.make_images open_clip
  python -m tests.input_pipeline.images.golden.make_images transformers
  python -m tests.input_pipeline.images.golden.make_images tensorflow

Each in an environment that has the package (open_clip_torch 3.3.0 with
torchvision; transformers 5.23.0; tensorflow-cpu 2.21.0), as uint8, at a size of
32. Nothing of this project runs here.
"""

import pathlib
import sys

import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).parent
SIZE = 32
# Height and width: rests of the crop that are odd, even and none, upwards and
# downwards, a strip.
SHAPES = ((47, 61), (64, 45), (32, 33), (33, 32), (32, 32), (20, 32), (90, 11))


def images() -> list[np.ndarray]:
  """Return images of blocks and noise, the same on every machine."""
  made = []
  for i, (height, width) in enumerate(SHAPES):
    # Not a generator of NumPy, whose streams may change: sums of large primes.
    y, x, c = np.ogrid[:height, :width, :3]
    noise = (y * 7919 + x * 104729 + c * 1299709 + i * 15485863) % 251
    blocks = 255 * ((y // 7 + x // 5 + c) % 2)
    made.append(((noise + blocks) // 2).astype(np.uint8))
  return made


def _save(name: str, results: dict[str, list[np.ndarray]]) -> None:
  arrays = {key: np.stack(values) for key, values in results.items()}
  assert all(array.dtype == np.uint8 for array in arrays.values())
  np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


def _open_clip() -> None:
  from open_clip import transform
  from torchvision.transforms import functional

  def uint8(tensor):
    return np.round(tensor.permute(1, 2, 0).numpy() * 255).astype(np.uint8)

  def resized(mode):
    made = transform.image_transform(
      SIZE, False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode
    )
    return [uint8(made(Image.fromarray(image))) for image in images()]

  def imagenet(image):
    # torchvision.transforms._presets.ImageClassification before its mean.
    image = functional.resize(Image.fromarray(image), [round(SIZE * 256 / 224)])
    return np.asarray(functional.center_crop(image, [SIZE]))

  _save(
    "open_clip_images",
    {
      "clip": resized("shortest"),
      "clip_squash": resized("squash"),
      "imagenet": [imagenet(image) for image in images()],
    },
  )


def _transformers() -> None:
  import transformers

  def processed(kind, **options):
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(
      do_rescale=False, do_normalize=False, **options
    )
    made = [processor(image)["pixel_values"][0] for image in images()]
    return [np.moveaxis(image, 0, 2).astype(np.uint8) for image in made]

  square = {"height": SIZE, "width": SIZE}
  larger = {"height": round(SIZE * 346 / 289), "width": round(SIZE * 346 / 289)}
  _save(
    "transformers_images",
    {
      "clip_hf": processed(
        "CLIP", size={"shortest_edge": SIZE}, crop_size=square
      ),
      "siglip": processed("Siglip", size=square),
      "vit": processed("ViT", size=square),
      "align": processed(
        "EfficientNet",
        size=larger,
        crop_size=square,
        resample=Image.Resampling.BILINEAR,
        do_center_crop=True,
        include_top=False,
      ),
    },
  )


def _tensorflow() -> None:
  import tensorflow as tf

  # Steps of big_vision's pp/ops_image.py and configs/proj/image_text/common.py.
  def cut(image, height, width, method):
    resized = tf.image.resize(image, (height, width), method, antialias=False)
    pixels = tf.cast(tf.clip_by_value(resized, 0, 255), tf.uint8).numpy()
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    return pixels[top : top + SIZE, left : left + SIZE]

  def small(image):
    shorter = tf.cast(min(image.shape[:2]), tf.float32)
    factor = tf.cast(int(SIZE / 0.75), tf.float32) / shorter
    sides = [
      int(tf.round(tf.cast(side, tf.float32) * factor))
      for side in image.shape[:2]
    ]
    return cut(image, *sides, "area")

  larger = int(SIZE / 0.875)
  _save(
    "tensorflow_images",
    {
      "square875": [cut(x, larger, larger, "bilinear") for x in images()],
      "square": [cut(x, SIZE, SIZE, "bilinear") for x in images()],
      "aspect75": [small(x) for x in images()],
    },
  )


if __name__ == "__main__":
  {
    "open_clip": _open_clip,
    "transformers": _transformers,
    "tensorflow": _tensorflow,
  }[sys.argv[1]]()
