"""Writes icons placed on photographs, with their boxes and names.

  pip install -r requirements-domains.txt
  python -m experiments.florence.detection.prepare --icons=package \\
    --out=cache/placed

`package` is the unpacked npm package @iconify/json. Below --out:

  train.jsonl valid.jsonl test.jsonl   pictures of 1 to 3 icons, with boxes and
                         labels: the layout "table" of --task=detect
  pairs.jsonl            one icon and the photograph around it, wide or narrow,
                         with the icon's name as caption, for the dual encoder
                         whose tower the detector begins with
  names.json             names of the icons of each of these files

Photographs are those that scikit-image and scikit-learn carry. Those of valid
and of test are in no other file, and neither are their names: a name is held
out with its icons of all sets, by a hash. A box is that of an icon's pixels
that are not transparent, so it is known by construction.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import icon_sets, photographs, placed_icons, program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  "icons", None, "Folder of the unpacked package.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Least sets that a name must be in.
LEAST_SETS = 2
# Pictures of each file.
SIZES: Mapping[str, int] = {
  "train": 4000,
  "valid": 300,
  "test": 400,
  "pairs": 24000,
}
# Shares of names that are in this file alone.
HELD_OUT: Mapping[str, float] = {"test": 0.2, "valid": 0.1}
MOST_ICONS = 3
# Pixels of a side of the pictures of pairs.jsonl.
PAIR_SIZE = 64
# Photographs of each file; those of pairs.jsonl are train.jsonl's.
PHOTOS: Mapping[str, Sequence[str]] = {
  "train": (
    *("astronaut", "coffee", "motorcycle", "hubble_deep_field", "china"),
    *("immunohistochemistry", "gravel"),
  ),
  "valid": ("camera", "retina", "brick"),
  "test": ("chelsea", "rocket", "flower", "grass"),
}
NAMES = "names.json"
_SALT = "diptych-placed-1"


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  photos = {split: photographs.read(names) for split, names in PHOTOS.items()}
  out = pathlib.Path(_OUT.value)
  icons = placed_icons.icons_of(package, placed_icons.SETS, LEAST_SETS)
  counts = make(icons, photos, out, SIZES)
  print(f"{_OUT.value}: {json.dumps(counts)}")


def make(
  icons: placed_icons.Icons,
  photos: Mapping[str, placed_icons.Photos],
  out: pathlib.Path,
  sizes: Mapping[str, int],
) -> dict[str, int]:
  """Write all files; return the number of names and pictures of each.

  Args:
    icons: icons of each name.
    photos: uint8 [Y, X, 3] photographs of each split, as PHOTOS.
    out: folder to write.
    sizes: number of pictures of each file, as SIZES.
  """
  names = {
    split: [x for x in icons if split_of(x) == split] for split in photos
  }
  names["pairs"] = names["train"]
  counts = {}
  for split, num in sizes.items():
    rng = np.random.default_rng(list(f"{_SALT}/{split}".encode()))
    (out / split).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(num):
      image = f"{split}/{number:05d}.png"
      if split == "pairs":
        made = placed_icons.compose(
          rng, icons, names[split], photos["train"], 1
        )
        picture = made.picture.resize(
          (PAIR_SIZE, PAIR_SIZE),
          Image.Resampling.BICUBIC,
          box=around(rng, made.boxes[0]),
        )
        row = {"image": image, "caption": made.labels[0]}
      else:
        made = placed_icons.compose(
          rng, icons, names[split], photos[split], MOST_ICONS
        )
        picture = made.picture
        row = {"image": image, "boxes": made.boxes, "labels": made.labels}
      picture.save(out / image)
      lines.append(json.dumps(row) + "\n")
    whole_files.write(out / f"{split}.jsonl", "".join(lines).encode())
    counts |= {split: num, f"{split}_names": len(names[split])}
  whole_files.write(out / NAMES, json.dumps(names).encode())
  return counts


def split_of(name: str) -> str:
  """Return the split whose pictures may have a name, a key of PHOTOS."""
  number = icon_sets.draw(_SALT, "name", name)
  for split, share in HELD_OUT.items():
    if number < share:
      return split
    number -= share
  return "train"


def around(
  rng: np.random.Generator, box: Sequence[int]
) -> tuple[float, float, float, float]:
  """Return a random part of a picture around a box, wide or narrow.

  Its sides are between those of the box and of the picture, by one factor of
  their logarithms.

  Args:
    rng: generator.
    box: left, top, right and bottom in pixels of a picture that compose made.

  Returns:
    Left, top, right and bottom of the part, which is in the picture.
  """
  wider = rng.random()
  lows, highs = [], []
  for low, high in zip(box[:2], box[2:], strict=True):
    side = (high - low) * (placed_icons.SIZE / (high - low)) ** wider
    first, last = max(high - side, 0), min(low, placed_icons.SIZE - side)
    lows.append(first + (last - first) * rng.random())
    highs.append(min(lows[-1] + side, placed_icons.SIZE))
  return lows[0], lows[1], highs[0], highs[1]


if __name__ == "__main__":
  program.run(main, _FLAGS)
