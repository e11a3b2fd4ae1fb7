"""Writes icons on photographs, with captions, boxes, names and masks.

  pip install -r requirements-domains.txt
  python -m experiments.siglip2.prepare --icons=package --out=cache/spoken

`package` is the unpacked npm package @iconify/json. Below --out:

  train.jsonl   pictures of one or two icons: "caption", "a cat and a bus",
                "boxes" in pixels and "texts", the name in each
  test.jsonl    a picture of each two names, on photographs of no other file
  probe.jsonl   pictures like those of train, with "mask": a file of one byte a
                pixel, 0 of the photograph and 1 + place in NAMES of an icon
  styles.jsonl  one icon of a set that no other file has, on photographs of
                test, with its name as "label"
  dense.json    the set of probe and test for --task=evaluate --dense

test.jsonl has masks too. Photographs are those that scikit-image and
scikit-learn carry, faded to about a third of their contrast.
"""

import itertools
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

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

# Sets that are trained on, and the set whose style is held out.
STYLES = ("noto", "twemoji", "emojione", "fluent-emoji-flat")
HELD_OUT = ("fxemoji",)
# Names that all of these sets draw.
NAMES = (
  *("airplane", "banana", "bell", "bicycle", "bus", "cactus", "cat", "crown"),
  *("dolphin", "elephant", "fire", "grapes", "guitar", "hamburger", "key"),
  *("mushroom", "penguin", "rainbow", "rocket", "sunflower", "tiger"),
  *("turtle", "umbrella", "volcano"),
)
# Pictures of each file.
SIZES: Mapping[str, int] = {
  "train": 16_000,
  "test": math.comb(len(NAMES), 2),
  "probe": 1_000,
  "styles": 600,
}
# Least and most icons of a picture.
NUM_ICONS: Mapping[str, tuple[int, int]] = {
  "train": (1, 2),
  "test": (2, 2),
  "probe": (1, 2),
  "styles": (1, 1),
}
_MASKED = ("test", "probe")
# Pixels of a side of the pictures as they are written.
SIZE = 64
# Sides of an icon, of placed_icons.SIZE pixels.
_SIDES = (52, 84)
# Share of a photograph's contrast that is left: small towers find icons on it.
_CONTRAST = 0.35
_SALT = "diptych-spoken-1"


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  icons = {
    is_held_out: placed_icons.icons_of(package, prefixes, 1)
    for is_held_out, prefixes in ((False, STYLES), (True, HELD_OUT))
  }
  photos = {
    is_test: [fade(photo) for photo in photographs.read(names)]
    for is_test, names in (
      (False, photographs.TRAIN),
      (True, photographs.TEST),
    )
  }
  counts = make(icons, photos, pathlib.Path(_OUT.value), SIZES)
  print(f"{_OUT.value}: {json.dumps(counts)}")


def make(
  icons: Mapping[bool, placed_icons.Icons],
  photos: Mapping[bool, placed_icons.Photos],
  out: pathlib.Path,
  sizes: Mapping[str, int],
) -> dict[str, int]:
  """Write all files; return the number of pictures of each.

  Args:
    icons: icons of each name, by whether their style is held out.
    photos: photographs, by whether they are held out.
    out: folder to write.
    sizes: number of pictures of each file, as SIZES; of test at most its.
  """
  for file, number in sizes.items():
    rng = np.random.default_rng(list(f"{_SALT}/{file}".encode()))
    (out / file).mkdir(parents=True, exist_ok=True)
    lines = []
    pairs = [*itertools.combinations(NAMES, 2)]
    for position in range(number):
      least, most = NUM_ICONS[file]
      made = placed_icons.compose(
        rng,
        icons[file == "styles"],
        pairs[position] if file == "test" else NAMES,
        photos[file in ("test", "styles")],
        most,
        least=least,
        sides=_SIDES,
        repeats=False,
      )
      row = _write(made, out, f"{file}/{position:05d}", file in _MASKED)
      if file == "styles":
        row = {"image": row["image"], "label": made.labels[0]}
      lines.append(json.dumps(row) + "\n")
    whole_files.write(out / f"{file}.jsonl", "".join(lines).encode())
  dense = {
    "kind": "segmentation",
    "name": "icons",
    "train": "probe.jsonl",
    "test": "test.jsonl",
    "classes": ["background", *NAMES],
    "first": 0,
    "void": [],
  }
  whole_files.write(out / "dense.json", json.dumps(dense).encode())
  return dict(sizes)


def fade(photo: np.ndarray) -> np.ndarray:
  """Return a photograph of less contrast, uint8 [Y, X, 3], around grey."""
  return np.round(128 + _CONTRAST * (photo.astype(np.float32) - 128)).astype(
    np.uint8
  )


def _write(
  made: placed_icons.Composed, out: pathlib.Path, stem: str, is_masked: bool
) -> dict[str, Any]:
  """Write a picture, and its mask; return its row."""
  factor = SIZE / placed_icons.SIZE
  row: dict[str, Any] = {"image": f"{stem}.png"}
  size = (SIZE, SIZE)
  made.picture.resize(size, Image.Resampling.BICUBIC).save(out / row["image"])
  if is_masked:
    row["mask"] = f"{stem}.mask.png"
    classes = np.array([0, *(1 + NAMES.index(x) for x in made.labels)])
    mask = Image.fromarray(classes.astype(np.uint8)[made.places_YX])
    mask.resize(size, Image.Resampling.NEAREST).save(out / row["mask"])
  row["caption"] = caption(made.labels)
  row["boxes"] = [[factor * side for side in box] for box in made.boxes]
  row["texts"] = made.labels
  return row


def caption(labels: Sequence[str]) -> str:
  """Return "a cat and a bus"."""
  return " and ".join(f"a {label}" for label in labels)


if __name__ == "__main__":
  program.run(main, _FLAGS)
