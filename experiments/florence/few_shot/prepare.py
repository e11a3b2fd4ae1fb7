"""Writes handwritten digits as pictures, for episodes.

  pip install -r requirements-evaluation.txt
  python -m experiments.florence.few_shot.prepare --out=cache/episodes

Below --out: digits.jsonl, a table of scikit-learn's 1,797 digits of 8 x 8
pixels (real handwriting, dark on white), enlarged to 64, with their names.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

SIZE = 64  # pixels
# Level of a digit's darkest pixel in scikit-learn's arrays.
_DARKEST = 16


def main(argv: Sequence[str]) -> None:
  del argv
  if not _OUT.value:
    raise app.UsageError("--out=FOLDER is needed")
  from sklearn import datasets

  digits: Any = datasets.load_digits()
  num = make(digits.images, digits.target, pathlib.Path(_OUT.value))
  print(f"{_OUT.value}: {num} digits")


def make(ink_NYX: np.ndarray, label_N: np.ndarray, out: pathlib.Path) -> int:
  """Write the table and its pictures; return their number.

  Args:
    ink_NYX: digits, 0 for white to 16 for black.
    label_N: the digits' numbers.
    out: folder to write.
  """
  (out / "digits").mkdir(parents=True, exist_ok=True)
  rows = []
  for number, (ink_YX, label) in enumerate(zip(ink_NYX, label_N, strict=True)):
    level_YX = 255 - np.round(255 * ink_YX / _DARKEST).astype(np.uint8)
    image = Image.fromarray(level_YX).convert("RGB")
    path = f"digits/{number:04d}.png"
    image.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(out / path)
    name = f"digit {label}"
    row = {"image": path, "caption": name, "label": name}
    rows.append(json.dumps(row) + "\n")
  whole_files.write(out / "digits.jsonl", "".join(rows).encode())
  return len(rows)


if __name__ == "__main__":
  program.run(main, _FLAGS)
