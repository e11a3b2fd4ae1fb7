"""Pictures of coloured squares with masks and depths, for dense probes."""

import json
import pathlib

import numpy as np
from PIL import Image

# Colours of classes 1 to 3; 0 is grey noise.
_COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
CLASSES = ("background", "red", "green", "blue")
VOID = 255


def arrays(
  number: int, height: int = 32, width: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return a picture, its mask and its depths in millimetres.

  The first row has no class and no depth.
  """
  rng = np.random.default_rng(number)
  image = rng.integers(90, 160, (height, width, 3))
  mask = np.zeros((height, width), np.uint8)
  for label in rng.choice(3, 2, replace=False):
    y, x = rng.integers(0, height - 12), rng.integers(0, width - 12)
    noise = rng.integers(-20, 20, (12, 12, 3))
    image[y : y + 12, x : x + 12] = _COLOURS[label] + noise
    mask[y : y + 12, x : x + 12] = label + 1
  depth = np.where(mask == 0, 4000, 1000 * mask.astype(int)).astype(np.uint16)
  mask[0], depth[0] = VOID, 0
  return image.astype(np.uint8), mask, depth


def save(folder: pathlib.Path, name: str, number: int) -> None:
  """Write NAME.png, NAME_mask.png with a palette, and NAME_depth.png."""
  image, mask, depth = arrays(number)
  Image.fromarray(image).save(folder / f"{name}.png")
  indexed = Image.fromarray(mask, "L").convert("P")
  indexed.putpalette([value for i in range(256) for value in (i, 7, 255 - i)])
  # Conversion gave the grey values other indices.
  indexed.putdata(mask.ravel().tolist())
  indexed.save(folder / f"{name}_mask.png")
  Image.fromarray(depth).save(folder / f"{name}_depth.png")


def write(
  folder: pathlib.Path, *, num_train: int = 20, num_test: int = 6
) -> tuple[str, str]:
  """Write both sets as tables; return them as --dense takes them."""
  folder.mkdir(parents=True, exist_ok=True)
  for split, start, num in (("train", 0, num_train), ("test", 500, num_test)):
    names = [f"{split}{i}" for i in range(num)]
    for number, name in enumerate(names, start):
      save(folder, name, number)
    for column in ("mask", "depth"):
      rows = [
        {"image": f"{name}.png", column: f"{name}_{column}.png"}
        for name in names
      ]
      text = "".join(f"{json.dumps(row)}\n" for row in rows)
      (folder / f"{split}_{column}.jsonl").write_text(text)
  tables = {
    column: {
      "train": f"train_{column}.jsonl",
      "test": f"test_{column}.jsonl",
    }
    for column in ("mask", "depth")
  }
  squares = {"kind": "segmentation", "classes": CLASSES, "void": [VOID]}
  depths = {"kind": "depth", "units_per_metre": 1000}
  (folder / "squares.json").write_text(json.dumps(squares | tables["mask"]))
  (folder / "depths.json").write_text(json.dumps(depths | tables["depth"]))
  return f"table:{folder}/squares.json", f"table:{folder}/depths.json"
