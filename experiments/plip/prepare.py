"""Writes parts of scikit-image's micrographs, with labels and captions.

  pip install -r requirements-domains.txt
  python -m experiments.plip.prepare --out=cache/plip

Below --out: train.jsonl and test.jsonl, tables of parts of 64 pixels, and
subset_PERCENT.npy, the shares of the training parts that the study takes. The
images are real: colon tissue with a brown stain (immunohistochemistry), the
retina of an eye, and a cell. Each is cut into bands, for training and for tests
in turn; no part overlaps the border of its band.

Labels follow from pixels, by rules that were written before anything was
trained: they are not a pathologist's.
"""

import io
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import program
from input_pipeline.storage import uids
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

SIDE = 64
_STEP = 8  # pixels from a part to the next one
PROMPT = "a micrograph of {}"
PERCENT = (1, 5, 10, 50, 100)
# Heights of a band for training and of the next one for tests.
_TRAIN_BAND, _TEST_BAND = 144, 80
# Share of brown above which a part of the colon has a label.
_GLANDS = {
  0.9: "dense glands with brown stain",
  0.6: "glands with brown stain and gaps",
  0.2: "the border of glands with brown stain",
}
LABELS = (*_GLANDS.values(), "blue nuclei", "a retina", "a single cell")
# Share that is not counted, and levels: of red above blue in brown, of blue
# above red in nuclei, of black, and of green in the optic disc.
_FEW = 0.05
_BROWN, _BLUE, _BLACK, _BRIGHT = 25, 5, 25, 150


def main(argv: Sequence[str]) -> None:
  del argv
  if not _OUT.value:
    raise app.UsageError("--out=FOLDER is needed")
  from skimage import data  # pyrefly: ignore[missing-import]

  images = {
    "colon": data.immunohistochemistry(),
    "retina": np.asarray(Image.fromarray(data.retina()).reduce(4)),
    "cell": np.repeat(data.cell()[..., None], 3, axis=2),
  }
  print(json.dumps(make(images, pathlib.Path(_OUT.value)), indent=2))


def make(
  images: dict[str, np.ndarray], out: pathlib.Path
) -> dict[str, dict[str, int]]:
  """Write all files; return the number of parts of each label by split."""
  counts: dict[str, dict[str, int]] = {}
  for split in ("train", "test"):
    rows = []
    for name, pixels in images.items():
      for (left, top), label in _parts(pixels, name, split):
        key = f"{split}/{name}_{left}_{top}.png"
        buffer = io.BytesIO()
        part = pixels[top : top + SIDE, left : left + SIDE]
        Image.fromarray(part).save(buffer, "PNG")
        (out / split).mkdir(parents=True, exist_ok=True)
        whole_files.write(out / key, buffer.getvalue())
        caption = PROMPT.format(label)
        rows.append(
          {"key": key, "image": key, "caption": caption, "label": label}
        )
        count = counts.setdefault(split, {})
        count[label] = count.get(label, 0) + 1
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    whole_files.write(out / f"{split}.jsonl", lines.encode())
    if split == "train":
      _write_subsets(out, [row["key"] for row in rows])
  return counts


def label_of(pixels: np.ndarray, name: str) -> str | None:
  """Return the label of a part, uint8 [Y, X, 3], None where it is unclear."""
  red, green, blue = (pixels[..., i].astype(int) for i in range(3))
  if name == "cell":
    # Its background is even.
    return "a single cell" if np.std(green) > 30 else None
  if name == "retina":
    # Neither the black beside it nor the bright optic disc.
    is_plain = (pixels.max(axis=2) > _BLACK) & (green < _BRIGHT)
    return "a retina" if is_plain.mean() > 1 - _FEW else None
  brown = (red - blue > _BROWN).mean()
  for share, label in _GLANDS.items():
    if brown > share:
      return label
  if brown > _FEW:
    return None
  nuclei = (blue - red > _BLUE).mean()
  return "blue nuclei" if nuclei > 3 * _FEW else None


def _parts(
  pixels: np.ndarray, name: str, split: str
) -> Iterator[tuple[tuple[int, int], str]]:
  """Yield corner and label of the parts in a split's bands of an image."""
  height, width, _ = pixels.shape
  for top in range(0, height - SIDE + 1, _STEP):
    first = top % (_TRAIN_BAND + _TEST_BAND)
    low, high = (
      (0, _TRAIN_BAND)
      if split == "train"
      else (_TRAIN_BAND, _TRAIN_BAND + _TEST_BAND)
    )
    if not low <= first <= high - SIDE:
      continue
    for left in range(0, width - SIDE + 1, _STEP):
      label = label_of(pixels[top : top + SIDE, left : left + SIDE], name)
      if label:
        yield (left, top), label


def _write_subsets(out: pathlib.Path, keys: Sequence[str]) -> None:
  """Write the UIDs of shares of the training parts, smaller ones in larger."""
  order = np.random.default_rng(0).permutation(len(keys))
  for percent in PERCENT:
    num = max(1, len(keys) * percent // 100)
    chosen = np.sort(
      np.array([uids.uid(keys[i]) for i in order[:num]], uids.UID)
    )
    buffer = io.BytesIO()
    np.save(buffer, chosen)
    whole_files.write(out / f"subset_{percent}.npy", buffer.getvalue())


if __name__ == "__main__":
  program.run(main, _FLAGS)
