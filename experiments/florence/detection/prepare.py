"""Writes icons placed on photographs, with their boxes and names.

  pip install -r requirements-domains.txt
  python -m experiments.florence.detection.prepare --icons=package \\
    --out=cache/placed

`package` is the unpacked npm package @iconify/json. Below --out:

  train.jsonl test.jsonl   pictures of 1 to 3 icons, with boxes and labels: the
                           layout "table" of --task=detect
  pairs.jsonl              one icon a picture, with its name as caption, for the
                           dual encoder whose tower the detector begins with
  names.txt                names of the icons of test.jsonl, one a line

Photographs are those that scikit-image and scikit-learn carry. Those of
test.jsonl are in no other file, and neither are its names: a name is held out
with its icons of all sets, by a hash. A box is that of an icon's pixels that
are not transparent, so it is known by construction.
"""

import collections
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.curation import icon_sets
from experiments.parts import program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  "icons", None, "Folder of the unpacked package.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Sets of icons in colours; each name is drawn by up to all of them.
SETS = ("noto", "twemoji", "fluent-emoji-flat", "fxemoji")
# Least sets that a name must be in.
LEAST_SETS = 2
SIZE = 128
# Pictures of each file.
SIZES: Mapping[str, int] = {"train": 3000, "test": 400, "pairs": 6000}
HELD_OUT = 0.2  # share of names
MOST_ICONS = 3
# Sides of an icon in pixels.
SIDES = (24, 56)
TRAIN_PHOTOS = (
  *("astronaut", "coffee", "motorcycle", "hubble_deep_field", "china"),
  *("immunohistochemistry", "gravel"),
)
TEST_PHOTOS = ("chelsea", "rocket", "flower", "grass")
_SALT = "diptych-placed-1"
_MOST_TRIES = 20

Icons = Mapping[str, Sequence[icon_sets.Icon]]
Photos = Sequence[np.ndarray]


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  counts = make(
    icons_of(package),
    _photos(TRAIN_PHOTOS),
    _photos(TEST_PHOTOS),
    pathlib.Path(_OUT.value),
    SIZES,
  )
  print(f"{_OUT.value}: {json.dumps(counts)}")


def icons_of(package: icon_sets.Package) -> dict[str, list[icon_sets.Icon]]:
  """Return the icons in colours of each name that several sets draw."""
  by_name: dict[str, list[icon_sets.Icon]] = collections.defaultdict(list)
  for prefix in SETS:
    if prefix in package.titles:
      for icon in package.icons(prefix):
        if icon.is_plain and "currentColor" not in icon.body:
          by_name[icon.words].append(icon)
  return {
    name: icons
    for name, icons in sorted(by_name.items())
    if len(icons) >= LEAST_SETS
  }


def make(
  icons: Icons,
  train_photos: Photos,
  test_photos: Photos,
  out: pathlib.Path,
  sizes: Mapping[str, int],
) -> dict[str, int]:
  """Write all files; return the number of names and pictures of each.

  Args:
    icons: icons of each name.
    train_photos: uint8 [Y, X, 3] photographs of train.jsonl and pairs.jsonl.
    test_photos: those of test.jsonl.
    out: folder to write.
    sizes: number of pictures of each file.
  """
  is_test = {x: icon_sets.draw(_SALT, "name", x) < HELD_OUT for x in icons}
  counts = {}
  for split, num in sizes.items():
    names = [x for x in icons if is_test[x] == (split == "test")]
    photos = test_photos if split == "test" else train_photos
    rng = np.random.default_rng(list(f"{_SALT}/{split}".encode()))
    (out / split).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(num):
      image = f"{split}/{number:05d}.png"
      most = 1 if split == "pairs" else MOST_ICONS
      picture, boxes, labels = compose(rng, icons, names, photos, most)
      picture.save(out / image)
      row = {"image": image, "boxes": boxes, "labels": labels}
      if split == "pairs":
        row = {"image": image, "caption": labels[0]}
      lines.append(json.dumps(row) + "\n")
    whole_files.write(out / f"{split}.jsonl", "".join(lines).encode())
    if split == "test":
      text = "".join(f"{name}\n" for name in names)
      whole_files.write(out / "names.txt", text.encode())
    counts |= {split: num, f"{split}_names": len(names)}
  return counts


def compose(
  rng: np.random.Generator,
  icons: Icons,
  names: Sequence[str],
  photos: Photos,
  most: int,
) -> tuple[Image.Image, list[list[int]], list[str]]:
  """Return a picture of icons that do not touch, their boxes and names.

  Args:
    rng: generator of everything that is random.
    icons: icons of each name.
    names: names that may occur.
    photos: photographs that a part is cut out of.
    most: most icons; there is at least one.
  """
  picture = _part(rng, photos[int(rng.integers(len(photos)))])
  boxes: list[list[int]] = []
  labels = []
  for _ in range(int(rng.integers(1, most + 1))):
    name = names[int(rng.integers(len(names)))]
    drawn = icons[name][int(rng.integers(len(icons[name])))]
    icon = icon_sets.picture(drawn, int(rng.integers(SIDES[0], SIDES[1] + 1)))
    inner = icon.getchannel("A").point(lambda level: 255 * (level > 127))
    if (around := inner.getbbox()) is None:
      continue
    for _ in range(_MOST_TRIES):
      left, top = rng.integers(0, SIZE - np.array(icon.size) + 1).tolist()
      box = [
        *(left + around[0], top + around[1]),
        *(left + around[2], top + around[3]),
      ]
      if not any(_touch(box, other) for other in boxes):
        picture.paste(icon, (left, top), icon)
        boxes.append(box)
        labels.append(name)
        break
  if not boxes:  # an icon without a pixel: another one
    return compose(rng, icons, names, photos, most)
  return picture, boxes, labels


def _part(rng: np.random.Generator, photo: np.ndarray) -> Image.Image:
  """Return a random square of a photograph, SIZE pixels a side."""
  height, width = photo.shape[:2]
  side = int(min(height, width) * rng.uniform(0.4, 1.0))
  top = int(rng.integers(height - side + 1))
  left = int(rng.integers(width - side + 1))
  part = Image.fromarray(photo[top : top + side, left : left + side])
  return part.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _touch(one: Sequence[int], other: Sequence[int]) -> bool:
  return (
    one[0] < other[2]
    and other[0] < one[2]
    and one[1] < other[3]
    and other[1] < one[3]
  )


def _photos(names: Sequence[str]) -> list[np.ndarray]:
  """Return photographs of scikit-image and scikit-learn, uint8 RGB."""
  from skimage import data  # pyrefly: ignore[missing-import]
  from sklearn import datasets

  photos = []
  for name in names:
    if name in ("china", "flower"):
      photo = datasets.load_sample_image(f"{name}.jpg")
    elif name == "motorcycle":
      photo = data.stereo_motorcycle()[0]
    else:
      photo = getattr(data, name)()
    if photo.ndim == 2:
      photo = np.repeat(photo[..., None], 3, axis=2)
    photos.append(np.ascontiguousarray(photo[..., :3]))
  return photos


if __name__ == "__main__":
  program.run(main, _FLAGS)
