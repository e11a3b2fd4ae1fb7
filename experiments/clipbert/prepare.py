"""Writes videos of icons that move over photographs, with what is said of them.

  pip install -r requirements-domains.txt -r requirements-video.txt
  python -m experiments.clipbert.prepare --icons=package --out=cache/moving

`package` is the unpacked npm package @iconify/json. Below --out, in the layouts
of the data sets (input_pipeline/sources/layouts):

  videos/                   videoN.mp4: H.264, 72 pixels, 3 s
  MSRVTT_*                  captions: "msrvtt.official", with a split for the
                            choice of a recipe, and "msrvtt.captions", whose
                            test has the first caption of each video
  {train,val,test}_qa.json  questions that a word answers: "msrvtt.qa"
  {Train,Test}_action_question.csv
                            which of five icons is in a video: "tgif_qa.action"
  msrvtt_mc_test.jsonl      which of five captions is right: "msrvtt.choice"
  validate.jsonl            some validation videos, each with one caption, which
                            curves of retrieval are of: a table
  pairs.jsonl pairs/        single pictures with their icons as captions, for
                            pre-training: a table

Photographs of the tests are in no other split. No caption of another split is
among those of the tests.
"""

import collections
import csv
import io
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.clipbert import scenes
from experiments.parts import icon_sets, photographs, program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  "icons", None, "Folder of the unpacked package.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Set of icons -> ending of the names of its filled ones.
SETS: Mapping[str, str] = {
  "ph": "-fill",
  "fa6-solid": "",
  "boxicons": "-filled",
}
# Split, as MSR-VTT names it -> videos.
SIZES: Mapping[str, int] = {"train": 3000, "validate": 300, "test": 300}
NUM_PAIRS = 6000
# Validation videos of curves. All pairs of 150 take 20 s, of 300 a minute more.
_NUM_CURVE = 150
_SALT = "diptych-moving-1"
_QA = {"train": "train", "validate": "val", "test": "test"}
_NUM_OPTIONS = 5

Drawn = Mapping[tuple[int, int, int], Sequence[Image.Image]]
Photos = Mapping[str, Sequence[np.ndarray]]


def main(argv: Sequence[str]) -> None:
  del argv
  if not _ICONS.value or not _OUT.value:
    raise app.UsageError("--icons=package and --out=FOLDER are both needed")
  package = icon_sets.open_package(pathlib.Path(_ICONS.value))
  train = photographs.read(photographs.TRAIN)
  photos = dict.fromkeys(SIZES, train)
  photos["test"] = photographs.read(photographs.TEST)
  out = pathlib.Path(_OUT.value)
  drawn = draw_icons(package)
  counts = make(drawn, photos, out, SIZES)
  make_pairs(drawn, train, out, NUM_PAIRS)
  print(f"{out}: {json.dumps(counts)}")


def draw_icons(package: icon_sets.Package) -> Drawn:
  """Return drawings of each shape in each colour and size."""
  drawn = collections.defaultdict(list)
  for prefix, ending in SETS.items():
    icons = {icon.name: icon for icon in package.icons(prefix)}
    for shape, name in enumerate(scenes.SHAPES):
      icon = icons[f"{name}{ending}"]
      for color, code in enumerate(scenes.COLORS.values()):
        for side in range(scenes.SIDES[0], scenes.SIDES[1] + 1):
          picture = icon_sets.picture(icon, side, code)
          drawn[shape, color, side].append(picture)
  return dict(drawn)


def make(
  drawn: Drawn, photos: Photos, out: pathlib.Path, sizes: Mapping[str, int]
) -> dict[str, Any]:
  """Write all files; return numbers of videos, and of answers by question.

  Args:
    drawn: result of `draw_icons`.
    photos: photographs of each split.
    out: folder to write.
    sizes: number of videos of each split.
  """
  (out / "videos").mkdir(parents=True, exist_ok=True)
  videos = _videos(sizes)
  of_split: dict[str, list[int]] = {}
  for number, (split, _) in enumerate(videos):
    of_split.setdefault(split, []).append(number)

  for number, (split, video) in enumerate(videos):
    rng = _rng("frames", number)
    photo = photos[split][int(rng.integers(len(photos[split])))]
    data = scenes.encode(scenes.frames(rng, video, photo, drawn))
    whole_files.write(out / "videos" / f"video{number}.mp4", data)

  counts: dict[str, Any] = dict(sizes)
  for name, text in _files(videos, of_split, counts):
    whole_files.write(out / name, text.encode())
  return counts


def make_pairs(
  drawn: Drawn,
  photos: Sequence[np.ndarray],
  out: pathlib.Path,
  number: int,
  name: str = "pairs",
) -> list[scenes.Scene]:
  """Write pictures of one scene each, and the table of their captions.

  Args:
    drawn: result of `draw_icons`.
    photos: photographs behind the icons.
    out: folder to write.
    number: number of pictures.
    name: folder of the pictures and, with .jsonl, the table; pictures depend on
      it.

  Returns:
    The scene of each picture, in the order of the table.
  """
  (out / name).mkdir(parents=True, exist_ok=True)
  lines, shown = [], []
  for i in range(number):
    rng = _rng(name, i)
    scene, _ = scenes.draw(rng)
    photo = photos[int(rng.integers(len(photos)))]
    pictures = scenes.frames(rng, (scene, scene), photo, drawn)
    image = f"{name}/{i:05d}.png"
    pictures[int(rng.integers(scenes.SCENE_FRAMES))].save(out / image)
    lines.append(json.dumps({"image": image, "caption": scene.icons}) + "\n")
    shown.append(scene)
  whole_files.write(out / f"{name}.jsonl", "".join(lines).encode())
  return shown


def _videos(sizes: Mapping[str, int]) -> list[tuple[str, scenes.Video]]:
  """Return split and scenes of each video; those of tests are not repeated."""
  # Tests first: what they have is left out of the other splits.
  videos: dict[str, list[scenes.Video]] = {}
  taken: set[frozenset[scenes.Scene]] = set()
  for split in sorted(sizes, key=lambda name: name == "train"):
    rng = _rng("videos", split)
    made = videos[split] = []
    own: set[frozenset[scenes.Scene]] = set()
    while len(made) < sizes[split]:
      video = scenes.draw(rng)
      name = frozenset(video)
      # A caption names both scenes in any order. Training may repeat some.
      if name in taken or (split != "train" and name in own):
        continue
      own.add(name)
      made.append(video)
    taken |= own
  return [(split, video) for split in sizes for video in videos[split]]


def _files(
  videos: Sequence[tuple[str, scenes.Video]],
  of_split: Mapping[str, Sequence[int]],
  counts: dict[str, Any],
) -> Iterator[tuple[str, str]]:
  """Yield name and content of each file; adds to `counts`."""
  captions = [scenes.captions(video) for _, video in videos]
  yield (
    "MSRVTT_data.json",
    json.dumps(
      {
        "videos": [
          {"video_id": f"video{i}", "split": split}
          for i, (split, _) in enumerate(videos)
        ],
        "sentences": [
          {"video_id": f"video{i}", "caption": text}
          for i, texts in enumerate(captions)
          for text in texts
        ],
      }
    ),
  )
  for name, splits in (("9k", ("train", "validate")), ("7k", ("train",))):
    numbers = [i for split in splits for i in of_split.get(split, ())]
    yield (
      f"MSRVTT_train.{name}.csv",
      _table(["video_id"], [[f"video{i}"] for i in numbers]),
    )
  test = of_split.get("test", ())
  yield (
    "MSRVTT_JSFUSION_test.csv",
    _table(
      ["video_id", "sentence"], [[f"video{i}", captions[i][0]] for i in test]
    ),
  )
  rows = [
    {"video": f"videos/video{i}.mp4", "caption": captions[i][0]}
    for i in of_split.get("validate", ())[:_NUM_CURVE]
  ]
  yield "validate.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
  for split, numbers in of_split.items():
    asked = [
      {"video_id": i, "question": question, "answer": answer}
      for i in numbers
      for question, answer in scenes.questions(
        _rng("questions", i), videos[i][1]
      )
    ]
    yield f"{_QA[split]}_qa.json", json.dumps(asked)
    answers = collections.Counter(row["answer"] for row in asked)
    counts[f"{split}_answers"] = dict(answers.most_common())
  columns = [
    *("gif_name", "question"),
    *(f"a{i}" for i in range(1, _NUM_OPTIONS + 1)),
    "answer",
  ]
  for split, name in (("train", "Train"), ("test", "Test")):
    rows = []
    for i in of_split.get(split, ()):
      chosen, right = scenes.options(
        _rng("options", i), videos[i][1], _NUM_OPTIONS
      )
      rows.append([f"video{i}", "which icon is there", *chosen, right])
    yield f"{name}_action_question.csv", _table(columns, rows, "\t")
  lines = []
  for i in test:
    rng = _rng("choice", i)
    others = [j for j in test if j != i]
    wrong = rng.choice(others, _NUM_OPTIONS - 1, replace=False).tolist()
    right = int(rng.integers(_NUM_OPTIONS))
    wrong.insert(right, i)
    texts = [captions[j][0] for j in wrong]
    row = {"clip_name": f"video{i}", "options": texts, "answer": right}
    lines.append(json.dumps(row) + "\n")
  yield "msrvtt_mc_test.jsonl", "".join(lines)


def _table(
  columns: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ","
) -> str:
  text = io.StringIO()
  table = csv.writer(text, delimiter=delimiter, lineterminator="\n")
  table.writerows([columns, *rows])
  return text.getvalue()


def _rng(*names: object) -> np.random.Generator:
  """Return a generator that depends on names alone."""
  text = "/".join(map(str, (_SALT, *names)))
  return np.random.default_rng(list(text.encode()))


if __name__ == "__main__":
  program.run(main, _FLAGS)
