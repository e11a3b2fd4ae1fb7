"""Writes pictures of icons, with captions and with questions about them.

  python -m experiments.florence.fusion.prepare --icons=package \\
    --out=cache/asked

`package` is the unpacked npm package @iconify/json. Below --out, for each SPLIT
of train, validate and test:

  SPLIT/ SPLIT.jsonl     pictures, 72 pixels: one or two icons of one shape and
                         colour over a photograph; captions, "two blue moon
                         icons"
  SPLIT_questions.jsonl  three questions about each picture, "what is blue",
                         with the word that answers them, three times: as many
                         equal answers are a full score of VQA v2

Photographs of the test are in no other split.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags

from experiments.clipbert import prepare as moving
from experiments.clipbert import scenes
from experiments.parts import icon_sets, photographs, program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  "icons", None, "Folder of the unpacked package.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Split -> pictures.
SIZES: Mapping[str, int] = {"train": 6000, "validate": 300, "test": 500}
# Persons who must agree, evaluators/metrics/questions.py.
_FULL_SCORE = 3


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  train = photographs.read(photographs.TRAIN)
  photos = dict.fromkeys(SIZES, train)
  photos["test"] = photographs.read(photographs.TEST)
  out = pathlib.Path(_OUT.value)
  counts = make(moving.draw_icons(package), photos, out, SIZES)
  print(f"{out}: {json.dumps(counts)}")


def make(
  drawn: moving.Drawn,
  photos: Mapping[str, Sequence[np.ndarray]],
  out: pathlib.Path,
  sizes: Mapping[str, int],
) -> dict[str, int]:
  """Write all files; return the number of questions of each split.

  Args:
    drawn: drawings of experiments.clipbert.prepare.
    photos: photographs of each split.
    out: folder to write.
    sizes: number of pictures of each split.
  """
  counts = {}
  for split, number in sizes.items():
    shown = moving.make_pairs(drawn, photos[split], out, number, split)
    rows = [
      {
        "image": f"{split}/{i:05d}.png",
        "caption": question,
        "question": question,
        "answer": answer,
        "answers": [answer] * _FULL_SCORE,
        "answer_type": question.split()[0],
      }
      for i, scene in enumerate(shown)
      for question, answer in scenes.picture_questions(scene)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    whole_files.write(out / f"{split}_questions.jsonl", text.encode())
    counts[split] = len(rows)
  return counts


if __name__ == "__main__":
  program.run(main, _FLAGS)
