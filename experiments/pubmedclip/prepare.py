"""Writes questions over composed icons, in the layout of VQA-RAD.

  python -m experiments.pubmedclip.prepare --out=cache/questions

Synthetic: each picture has one or two drawings of organs (OpenMoji) in its
halves, and its questions are made of templates. The same command writes the
same questions; pictures depend on the packages' versions. Files below --out,
which must be new or empty: images/*.png, trainset.json, testset.json, and
captions.jsonl, a table of the training pictures for the autoencoder.
"""

import io
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import program
from input_pipeline.sources import emoji
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)
_NUM_TRAIN = flags.DEFINE_integer(
  "num_train", 900, "Pictures of training.", flag_values=_FLAGS
)
_NUM_TEST = flags.DEFINE_integer(
  "num_test", 150, "Pictures of the test split.", flag_values=_FLAGS
)

# Name of a drawing in questions -> its code point in OpenMoji.
ORGANS = {
  "heart": "1FAC0",
  "lung": "1FAC1",
  "brain": "1F9E0",
  "bone": "1F9B4",
  "eye": "1F441",
}
PLACES = ("left", "right")
_SIDE, _HALF = 64, 32
# Least and most side of a drawing.
_SIZES = (22, 32)
# Grey levels of the background, at random.
_GREYS = (150, 256)


def main(argv: Sequence[str]) -> int:
  """Write the set."""
  if len(argv) > 1 or not _OUT.value:
    raise app.UsageError("give --out=FOLDER alone")
  folder = pathlib.Path(_OUT.value)
  if folder.exists() and any(folder.iterdir()):
    raise app.UsageError(f"--out={folder} must be new or empty; got files")
  write(folder, {"train": _NUM_TRAIN.value, "test": _NUM_TEST.value})
  return 0


def write(folder: pathlib.Path, sizes: dict[str, int]) -> None:
  """Write splits of `sizes` pictures each."""
  drawings = _drawings()
  (folder / "images").mkdir(parents=True)
  rng, qid = np.random.default_rng(0), 0
  for split, num_pictures in sizes.items():
    rows, captions = [], []
    for number in range(num_pictures):
      organs = _draw_organs(rng)
      name = f"{split}{number:04}.png"
      data = io.BytesIO()
      Image.fromarray(_compose(organs, drawings, rng)).save(data, "PNG")
      whole_files.write(folder / "images" / name, data.getvalue())
      caption = {
        "image": f"images/{name}",
        "caption": " and ".join(organs.values()),
      }
      captions.append(json.dumps(caption) + "\n")
      for question, answer, kind in _ask(organs, rng):
        qid += 1
        rows.append(
          {
            "qid": qid,
            "image_name": name,
            "question": question,
            "answer": answer,
            "answer_type": kind,
          }
        )
    if split == "train":
      whole_files.write(folder / "captions.jsonl", "".join(captions).encode())
    text = json.dumps(rows, indent=1)
    whole_files.write(folder / f"{split}set.json", text.encode())


def _drawings() -> dict[str, Image.Image]:
  paths = {entry.key: entry for entry in emoji.read_entries()}
  return {
    name: Image.open(io.BytesIO(emoji.render(paths[key], 72))).convert("RGB")
    for name, key in ORGANS.items()
  }


def _draw_organs(rng: np.random.Generator) -> dict[str, str]:
  """Return one or two different organs by their place."""
  count = rng.integers(1, len(PLACES) + 1)
  places = rng.permutation(PLACES)[:count]
  organs = rng.permutation(list(ORGANS))[:count]
  return dict(zip(map(str, places), map(str, organs), strict=True))


def _compose(
  organs: dict[str, str],
  drawings: dict[str, Image.Image],
  rng: np.random.Generator,
) -> np.ndarray:
  """Return the picture, uint8 [64, 64, 3]."""
  picture = np.full((_SIDE, _SIDE, 3), rng.integers(*_GREYS), np.uint8)
  for place, organ in organs.items():
    size = int(rng.integers(_SIZES[0], _SIZES[1] + 1))
    drawing = np.asarray(drawings[organ].resize((size, size)))
    top = int(rng.integers(0, _SIDE - size + 1))
    left = PLACES.index(place) * _HALF
    left += int(rng.integers(0, _HALF - size + 1))
    below = picture[top : top + size, left : left + size]
    # White of the drawing becomes the background.
    below[:] = np.minimum(below, drawing)
  noise = rng.normal(0, 4, picture.shape)
  return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _ask(
  organs: dict[str, str], rng: np.random.Generator
) -> Iterator[tuple[str, str, str]]:
  """Yield (question, answer, type), three open and three closed."""
  place = str(rng.choice(list(organs)))
  yield f"What organ is on the {place}?", organs[place], "OPEN"
  place = str(rng.choice(list(organs)))
  yield f"Where is the {organs[place]}?", place, "OPEN"
  yield "How many organs are there?", str(len(organs)), "OPEN"
  absent = [organ for organ in ORGANS if organ not in organs.values()]
  is_there = bool(rng.integers(2))
  asked = str(rng.choice(list(organs.values()) if is_there else absent))
  yield (
    f"Is there {_with_article(asked)}?",
    "Yes" if is_there else "No",
    "CLOSED",
  )
  place, other = str(rng.choice(list(organs))), str(rng.choice(absent))
  one, two = map(_with_article, rng.permutation([organs[place], other]))
  yield (
    f"Is the {place} organ {one} or {two}?",
    organs[place],
    "CLOSED",
  )
  place = str(rng.choice(PLACES))
  answer = "Yes" if place in organs else "No"
  yield f"Is there an organ on the {place}?", answer, "CLOSED"


def _with_article(organ: str) -> str:
  return f"{'an' if organ[0] in 'aeiou' else 'a'} {organ}"


if __name__ == "__main__":
  program.run(main, _FLAGS)
