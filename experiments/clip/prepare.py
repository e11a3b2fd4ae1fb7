"""Writes CLIP's tables: emoji of four artists with classes to name.

  python -m experiments.clip.prepare --emoji=cache/emoji_styles --out=cache/clip

Read from tables of experiments/parts/emoji_styles.py, whose pictures stay where
they are (image_root). Written below --out, one JSON object a line:

  pairs.jsonl   all drawings of `train`: "caption" (the name) and "tags"
  shots.jsonl   those of them that have a class
  val.jsonl, test.jsonl, style.jsonl  held-out drawings that have a class

"class" of a row is the name of its subgroup in labels.py. classes.txt has a
class a line, in the order of their numbers; facts.json, written last, has the
counts of rows, and versions and licences of the packages.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from experiments.clip import labels
from experiments.parts import emoji_styles, program
from runtime import failures
from runtime.storage import whole_files

_FLAGS = flags.FlagValues()
_EMOJI = flags.DEFINE_string(
  *("emoji", None, "Folder of experiments.parts.emoji_styles."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Split of emoji_styles -> table.
_TABLES = {"train": "shots", "val": "val", "test": "test", "style": "style"}


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
    RunError: a table of --emoji is missing, or its classes are not those of
      labels.py.
  """
  rows = {split: _read(emoji, split) for split in _TABLES}
  found = labels.chosen(row["subgroup"] for row in rows["train"])
  if found != {*labels.NAMES}:
    raise failures.RunError(
      f"--emoji={emoji} must have the {len(labels.NAMES)} subgroups of"
      f" {labels.__name__} with {labels.SHOTS} drawings in train.jsonl; it"
      f" lacks {sorted({*labels.NAMES} - found)}, and has others:"
      f" {sorted(found - {*labels.NAMES})}"
    )
  tables = {
    table: [
      {**row, "class": labels.NAMES[row["subgroup"]]}
      for row in rows[split]
      if row["subgroup"] in labels.NAMES
    ]
    for split, table in _TABLES.items()
  } | {"pairs": rows["train"]}
  out.mkdir(parents=True, exist_ok=True)
  for table, listed in tables.items():
    lines = (json.dumps(x, ensure_ascii=False) + "\n" for x in listed)
    whole_files.write(out / f"{table}.jsonl", "".join(lines).encode())
  names = "".join(f"{name}\n" for name in labels.CLASSES)
  whole_files.write(out / "classes.txt", names.encode())
  facts = {
    "rows": {table: len(listed) for table, listed in tables.items()},
    "emoji": json.loads((emoji / "facts.json").read_bytes())["packages"],
  }
  text = json.dumps(facts, indent=2) + "\n"
  whole_files.write(out / "facts.json", text.encode())
  return facts


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
