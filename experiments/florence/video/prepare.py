"""Writes pictures of icons with captions, and videos of them to retrieve.

  python -m experiments.florence.video.prepare --moving=cache/moving

`moving` is the folder that experiments.clipbert.prepare wrote. Added to it:

  pictures.jsonl      6,000 pictures of icons over photographs (its pairs.jsonl)
                      and 6,000 of two of them side by side, "A and B"
  beside/             the latter
  validate.jsonl test.jsonl
                      300 videos each, with the icons that they show: the third
                      caption of a video, "A and B"

No video is among the pictures, and no pair of icons that one of these videos
shows is among those side by side. Photographs of the test are in no other file.
"""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_MOVING = flags.DEFINE_string(
  "moving",
  None,
  "Folder that experiments.clipbert.prepare wrote.",
  flag_values=_FLAGS,
)

NUM_BESIDE = 6000
SPLITS = ("validate", "test")
_SALT = "diptych-beside-1"
# Number of the caption that names the icons of both scenes, and no move.
_ICONS = 2
_AND = " and "


def main(argv: Sequence[str]) -> None:
  del argv
  if not _MOVING.value:
    raise app.UsageError("--moving=FOLDER is needed")
  counts = make(pathlib.Path(_MOVING.value), NUM_BESIDE)
  print(f"{_MOVING.value}: {json.dumps(counts)}")


def make(folder: pathlib.Path, num: int) -> dict[str, int]:
  """Write all files; return the rows of each.

  Args:
    folder: folder with pairs.jsonl and MSRVTT_data.json.
    num: pictures of two pictures.
  """
  lines = (folder / "pairs.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  (folder / "beside").mkdir(exist_ok=True)
  videos = {split: _videos(folder, split) for split in SPLITS}
  held_out = {
    frozenset(row["caption"].split(_AND))
    for some in videos.values()
    for row in some
  }
  rng = np.random.default_rng(list(_SALT.encode()))
  made: list[dict[str, str]] = []
  while len(made) < num:
    left, right = (rows[int(i)] for i in rng.integers(len(rows), size=2))
    if frozenset((left["caption"], right["caption"])) in held_out:
      continue
    number = len(made)
    image = f"beside/{number:05d}.png"
    beside(folder / left["image"], folder / right["image"]).save(folder / image)
    caption = f"{left['caption']}{_AND}{right['caption']}"
    made.append({"image": image, "caption": caption})
  files = {"pictures": rows + made} | videos
  for name, some in files.items():
    text = "".join(json.dumps(row) + "\n" for row in some)
    whole_files.write(folder / f"{name}.jsonl", text.encode())
  return {name: len(some) for name, some in files.items()}


def beside(left: pathlib.Path, right: pathlib.Path) -> Image.Image:
  """Return two pictures of one size side by side, narrowed to one's width."""
  pictures = [Image.open(path).convert("RGB") for path in (left, right)]
  width, height = pictures[0].size
  whole = Image.new("RGB", (2 * width, height))
  for number, picture in enumerate(pictures):
    whole.paste(picture, (number * width, 0))
  return whole.resize((width, height), Image.Resampling.BICUBIC)


def _videos(folder: pathlib.Path, split: str) -> list[dict[str, str]]:
  data = json.loads((folder / "MSRVTT_data.json").read_text())
  captions: dict[str, list[str]] = {}
  for one in data["sentences"]:
    captions.setdefault(one["video_id"], []).append(one["caption"])
  return [
    {
      "video": f"videos/{one['video_id']}.mp4",
      "caption": captions[one["video_id"]][_ICONS],
    }
    for one in data["videos"]
    if one["split"] == split
  ]


if __name__ == "__main__":
  program.run(main, _FLAGS)
