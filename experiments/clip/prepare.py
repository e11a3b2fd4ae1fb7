"""Writes CLIP's tables: emoji of four artists with classes to name.

  python -m experiments.clip.prepare --emoji=cache/emoji_styles --out=cache/clip

Read from tables of experiments/parts/emoji_styles.py, whose pictures stay where
they are (image_root). Written below --out, one JSON object a line:

  pairs.jsonl   all drawings of `train`: "caption" (the name) and "tags"
  shots.jsonl   those of them that have a class
  val.jsonl, test.jsonl, style.jsonl  held-out drawings that have a class

"class" of a row is its subgroup of Unicode in words: its name with spaces for
hyphens. Classes are the subgroups with at least SHOTS drawings in `train`, so
that each has as many shots, but for those of other things ("place-other"),
whose names say nothing. facts.json, written last, has classes and counts.
"""

import collections
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

from experiments.parts import emoji_styles, program
from runtime import failures
from runtime.storage import whole_files

_FLAGS = flags.FlagValues()
_EMOJI = flags.DEFINE_string(
  *("emoji", None, "Folder of experiments.parts.emoji_styles."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Most shots of the study (arXiv 2103.00020, figure 6), and fewest drawings.
SHOTS = 16
_OTHER = "other"
# Classes of emojibase-data 17.0.0 and the drawings that four artists share.
CLASSES = (
  *("alphanum", "animal bird", "animal bug", "animal mammal", "animal marine"),
  *("arrow", "av symbol", "body parts", "book paper", "cat face", "clothing"),
  *("computer", "drink", "emotion", "event", "face affection"),
  *("face concerned", "face negative", "face neutral skeptical"),
  *("face smiling", "face unwell", "food asian", "food fruit", "food prepared"),
  *("food sweet", "food vegetable", "game", "geometric", "hand fingers closed"),
  *("hand fingers open", "hand fingers partial", "hand prop"),
  *("hand single finger", "hands", "heart", "household", "keycap"),
  *("light video", "mail", "money", "music", "musical instrument", "office"),
  *("person", "person activity", "person fantasy", "person gesture"),
  *("person resting", "person role", "person sport", "place building"),
  *("plant flower", "religion", "sky weather", "sport", "time", "tool"),
  *("transport air", "transport ground", "transport sign", "transport water"),
  *("warning", "zodiac"),
)
# Split of emoji_styles -> table.
_TABLES = {"train": "shots", "val": "val", "test": "test", "style": "style"}

Rows = Sequence[Mapping[str, Any]]


def main(argv: Sequence[str]) -> None:
  """Write the tables."""
  del argv
  if not _EMOJI.value or not _OUT.value:
    raise app.UsageError("--emoji=FOLDER and --out=FOLDER are both needed")
  try:
    facts = make(pathlib.Path(_EMOJI.value), pathlib.Path(_OUT.value))
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error
  print(json.dumps(facts, indent=2))


def make(emoji: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
  """Write the tables and facts.json; return the facts.

  Raises:
    RunError: a table of --emoji is missing, or its classes are not CLASSES.
  """
  rows = {split: _read(emoji, split) for split in _TABLES}
  names = classes(rows["train"])
  if names != CLASSES:
    raise failures.RunError(
      f"--emoji={emoji} must have the {len(CLASSES)} classes of"
      f" {__name__}.CLASSES in train.jsonl; it lacks"
      f" {sorted({*CLASSES} - {*names})}, and has others:"
      f" {sorted({*names} - {*CLASSES})}"
    )
  tables = {
    table: [
      {**row, "class": name}
      for row in rows[split]
      if (name := words(row["subgroup"])) in names
    ]
    for split, table in _TABLES.items()
  } | {"pairs": rows["train"]}
  out.mkdir(parents=True, exist_ok=True)
  for table, listed in tables.items():
    lines = (json.dumps(x, ensure_ascii=False) + "\n" for x in listed)
    whole_files.write(out / f"{table}.jsonl", "".join(lines).encode())
  facts = {
    "rows": {table: len(listed) for table, listed in tables.items()},
    "classes": list(names),
    "emoji": json.loads((emoji / "facts.json").read_bytes())["packages"],
  }
  text = json.dumps(facts, indent=2) + "\n"
  whole_files.write(out / "facts.json", text.encode())
  return facts


def classes(rows: Rows) -> tuple[str, ...]:
  """Return the names of the classes of training rows, sorted."""
  drawings = collections.Counter(row["subgroup"] for row in rows)
  return tuple(
    sorted(
      words(subgroup)
      for subgroup, number in drawings.items()
      if number >= SHOTS and _OTHER not in subgroup.split("-")
    )
  )


def words(subgroup: str) -> str:
  """Return a subgroup's name as a prompt has it.

  >>> words("food-fruit")
  'food fruit'
  """
  return subgroup.replace("-", " ")


def _read(emoji: pathlib.Path, split: str) -> list[dict[str, Any]]:
  path = emoji / f"{split}.jsonl"
  try:
    with path.open() as lines:
      return [json.loads(line) for line in lines]
  except FileNotFoundError as error:
    raise failures.RunError(
      f"--emoji={emoji} must be a folder of {emoji_styles.__name__};"
      f" {path.name} is missing"
    ) from error


if __name__ == "__main__":
  program.run(main, _FLAGS)
