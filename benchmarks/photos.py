"""WebDataset tars of photographs of one size, for benchmarks/data.py."""

import importlib.util
import io
import itertools
import pathlib
import tarfile
from collections.abc import Iterator

import numpy as np
from absl import app
from PIL import Image

# Photographs (not drawings, textures or scans) in the wheel of scikit-image.
_SCIKIT_IMAGE = (
  "astronaut.png",
  "chelsea.png",
  "coffee.png",
  "motorcycle_left.png",
  "motorcycle_right.png",
  "rocket.jpg",
)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Most photographs kept in memory, to cut pictures from.
_NUM_PHOTOS = 400
# Number of different pictures; further members of the tars repeat their bytes.
_NUM_PICTURES = 250
# Pixels above which a picture is four photographs side by side, so that it has
# about as much detail a pixel as they do, not a blur that is decoded fast.
_MOSAIC_PIXELS = 1_000_000
_QUALITY = 90


def read(path: str) -> list[Image.Image]:
  """Return photographs from a folder of images or tars.

  Args:
    path: folder; "" for the photographs in the wheel of scikit-image, of which
      skimage/data alone may be installed.
  """
  if path:
    encoded = _read_folder(pathlib.Path(path))
  else:
    spec = importlib.util.find_spec("skimage")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
      raise app.UsageError(
        "no photographs: set --photos=FOLDER with images or tars, or pip"
        " install scikit-image"
      )
    folder = pathlib.Path(next(iter(folders))) / "data"
    encoded = ((folder / name).read_bytes() for name in _SCIKIT_IMAGE)
  photos = [
    Image.open(io.BytesIO(data)).convert("RGB")
    for data in itertools.islice(encoded, _NUM_PHOTOS)
  ]
  if not photos:
    raise app.UsageError(f"--photos={path} has no {', '.join(_SUFFIXES)}")
  return photos


def write(
  folder: pathlib.Path,
  photos: list[Image.Image],
  *,
  size: tuple[int, int],
  num_examples: int,
  num_shards: int,
) -> str:
  """Write tars of .jpg and .txt; return their name, a pattern in braces.

  Each side is 0.9 to 1.1 times the side in `size` (width, height), the quality
  is 90; a picture is cut at random from one photograph or, if it is large,
  composed of four.
  """
  rng = np.random.default_rng(0)
  pictures = [
    picture(photos, size, rng) for _ in range(min(num_examples, _NUM_PICTURES))
  ]
  folder.mkdir(parents=True)
  for shard in range(num_shards):
    with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
      for index in range(shard, num_examples, num_shards):
        text = f"A photo, number {index:,}, of a thing that someone looked at."
        for suffix, data in (
          ("jpg", pictures[index % len(pictures)]),
          ("txt", text.encode()),
        ):
          member = tarfile.TarInfo(f"{index:09}.{suffix}")
          member.size = len(data)
          tar.addfile(member, io.BytesIO(data))
  return str(folder / f"{{00000..{num_shards - 1:05}}}.tar")


def picture(
  photos: list[Image.Image], size: tuple[int, int], rng: np.random.Generator
) -> bytes:
  width, height = (round(side * rng.uniform(0.9, 1.1)) for side in size)
  if width * height <= _MOSAIC_PIXELS:
    picture = _cut(photos, width, height, rng)
  else:
    picture = Image.new("RGB", (width, height))
    half_width, half_height = (width + 1) // 2, (height + 1) // 2
    for left, top in itertools.product((0, half_width), (0, half_height)):
      picture.paste(_cut(photos, half_width, half_height, rng), (left, top))
  buffer = io.BytesIO()
  picture.save(buffer, "JPEG", quality=_QUALITY)
  return buffer.getvalue()


def _cut(
  photos: list[Image.Image], width: int, height: int, rng: np.random.Generator
) -> Image.Image:
  """Return a part of a photograph, 0.7 to 1 of its side, resized."""
  photo = photos[int(rng.integers(len(photos)))]
  scale = rng.uniform(0.7, 1) * min(photo.width / width, photo.height / height)
  left = rng.uniform(0, photo.width - scale * width)
  top = rng.uniform(0, photo.height - scale * height)
  return photo.resize(
    (width, height),
    Image.Resampling.LANCZOS,
    (left, top, left + scale * width, top + scale * height),
  )


def _read_folder(folder: pathlib.Path) -> Iterator[bytes]:
  for path in sorted(folder.rglob("*")):
    if path.suffix == ".tar":
      with tarfile.open(path) as tar:
        for member in tar:
          file = tar.extractfile(member)
          if file is not None and member.name.lower().endswith(_SUFFIXES):
            yield file.read()
    elif path.suffix.lower() in _SUFFIXES:
      yield path.read_bytes()
