"""Makes the head-heavy pool of MetaCLIP's study, and balances it at several t.

  python -m experiments.parts.emoji_styles --packages=packages \\
    --out=cache/emoji_styles
  python -m experiments.metaclip.prepare --packages=packages \\
    --emoji=cache/emoji_styles --out=cache/metaclip

Below --out:

  pool.jsonl       NUM_PAIRS pairs of pool.py, a JSON object a line: "key",
                   "image" (below --emoji), "caption", "language"
  metadata         LANGUAGE.txt: names and tags of all trained emoji without a
                   skin tone, each once, as the package emojibase-data has them
  metadata.txt     the same of all languages in one list
  curated/NAME     --task=curate with each recipe of curate.py
  records          splits `test`, `head` and `tail`: emoji_styles' test with
                   names in the languages of pool.py, and the first and the last
                   ENDS of it by the ranks of the concepts
  tokenizer        byte-pair encoding of the pool's captions, for all arms
  facts.json       written last: for the pool and each selection, the pairs of
                   each language and of the first tenth and last half of the
                   concepts, and t and tail mass by language
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from curation import recipe, runner
from curation.outputs import manifest as manifest_lib
from experiments.metaclip import curate
from experiments.metaclip import pool as pool_lib
from experiments.parts import emoji_styles, program, trained_tokenizer
from input_pipeline.sources import array_record, prepared
from input_pipeline.storage import uids as uids_lib
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_PACKAGES = flags.DEFINE_string(
  *("packages", None, "Folder with the unpacked npm packages."),
  flag_values=_FLAGS,
)
_EMOJI = flags.DEFINE_string(
  "emoji", None, "Folder of emoji_styles.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

# Sizes; ours.
NUM_PAIRS = 120_000
VOCAB_SIZE = 4096
# Shares of the test set that are its head and its tail.
ENDS = 0.2
# Shares of the concepts, from the first and to the last, that facts.json has.
_FIRST, _LAST = 0.1, 0.5


def main(argv: Sequence[str]) -> None:
  del argv
  if not _PACKAGES.value or not _EMOJI.value or not _OUT.value:
    raise app.UsageError(
      "--packages=FOLDER, --emoji=FOLDER and --out=FOLDER are all needed"
    )
  emoji = pathlib.Path(_EMOJI.value)
  concepts = read_concepts(pathlib.Path(_PACKAGES.value), emoji)
  facts = make(concepts, emoji, pathlib.Path(_OUT.value))
  print(json.dumps(facts, indent=2))


def read_concepts(
  packages: pathlib.Path, emoji: pathlib.Path
) -> list[pool_lib.Concept]:
  """Return the emoji without a skin tone that emoji_styles trains.

  Raises:
    FileNotFoundError: a package or a file of emoji_styles is missing.
  """
  pictures = collections.defaultdict(list)
  for line in (emoji / "train.jsonl").read_text().splitlines():
    row = json.loads(line)
    pictures[_key(row["uid"])].append(row["image"])
  tags = {x: emoji_styles.read_tags(packages, x) for x in pool_lib.LANGUAGES}
  return [
    pool_lib.Concept(
      entry["key"],
      tuple(pictures[entry["key"]]),
      {x: entry["names"][x] for x in pool_lib.LANGUAGES},
      {x: tags[x][entry["key"]] for x in pool_lib.LANGUAGES},
    )
    for entry in emoji_styles.read_entries(packages)
    if entry["is_toneless"] and entry["key"] in pictures
  ]


def make(
  concepts: Sequence[pool_lib.Concept],
  emoji: pathlib.Path,
  out: pathlib.Path,
  num_pairs: int = NUM_PAIRS,
  names: Sequence[str] = tuple(curate.SELECTIONS),
) -> dict[str, dict[str, Any]]:
  """Write what is not there yet; return facts of the pool and selections.

  Args:
    concepts: concepts of the pool.
    emoji: folder of emoji_styles.
    out: folder to write.
    num_pairs: pairs of the pool.
    names: keys of curate.SELECTIONS to select.
  """
  if (out / "facts.json").is_file():
    return json.loads((out / "facts.json").read_bytes())
  out.mkdir(parents=True, exist_ok=True)
  pairs = pool_lib.make(concepts, num_pairs)
  _write_pool(pairs, out / "pool.jsonl")
  _write_metadata(concepts, out)
  _write_records(concepts, emoji, out / emoji_styles.RECORDS)
  (out / "tokenizer").mkdir(exist_ok=True)
  trained_tokenizer.write(
    out / "tokenizer", [pair.caption for pair in pairs], VOCAB_SIZE
  )
  facts = {"pool": counts(pairs, concepts)}
  for name in names:
    folder = out / "curated" / name
    values = curate.get_config(name, str(out), str(emoji)).to_dict()
    made = recipe.checked(values, recipe.check_paths)
    runner.run(made, folder, engine="inline", num_workers=1)
    kept = selected(pairs, folder / runner.SELECTION)
    facts[name] = counts(kept, concepts) | {"balance": _balance(folder)}
  whole_files.write(
    out / "facts.json", (json.dumps(facts, indent=2) + "\n").encode()
  )
  return facts


def selected(
  pairs: Sequence[pool_lib.Pair], path: pathlib.Path
) -> list[pool_lib.Pair]:
  """Return the pairs that a selection.npy names."""
  uids = {tuple(uid) for uid in np.load(path, allow_pickle=False).tolist()}
  return [pair for pair in pairs if uids_lib.uid(pair.key) in uids]


def counts(
  pairs: Sequence[pool_lib.Pair], concepts: Sequence[pool_lib.Concept]
) -> dict[str, Any]:
  """Return the number of pairs, by language and by rank of the concept."""
  ranks = pool_lib.ranked([concept.key for concept in concepts])
  first = {*ranks[: int(_FIRST * len(ranks))]}
  last = {*ranks[-int(_LAST * len(ranks)) :]}
  languages = collections.Counter(pair.language for pair in pairs)
  return {
    "pairs": len(pairs),
    "first_tenth": sum(pair.concept in first for pair in pairs),
    "last_half": sum(pair.concept in last for pair in pairs),
    "languages": {x: languages[x] for x in pool_lib.LANGUAGES},
  }


def _balance(folder: pathlib.Path) -> dict[str, Any]:
  """Return t and tail mass by language, as --task=curate reports them."""
  manifest = json.loads((folder / manifest_lib.NAME).read_bytes())
  step = next(x for x in manifest["steps"] if x["name"] == "balance")
  return {
    language: {"t": found["t"], "tail_mass": found["tail_mass"]}
    for language, found in step["facts"]["languages"].items()
  }


def _write_pool(pairs: Sequence[pool_lib.Pair], path: pathlib.Path) -> None:
  names = ("key", "image", "caption", "language")
  lines = (
    json.dumps({x: getattr(pair, x) for x in names}, ensure_ascii=False) + "\n"
    for pair in pairs
  )
  whole_files.write(path, "".join(lines).encode())


def _write_metadata(
  concepts: Sequence[pool_lib.Concept], out: pathlib.Path
) -> None:
  folder = out / curate.BY_LANGUAGE
  folder.mkdir(exist_ok=True)
  lists = {x: pool_lib.entries(concepts, x) for x in pool_lib.LANGUAGES}
  for language, entries in lists.items():
    _write_lines(folder / f"{language}.txt", entries)
  _write_lines(out / curate.ONE_LIST, sorted({*sum(lists.values(), [])}))


def _write_lines(path: pathlib.Path, lines: Sequence[str]) -> None:
  whole_files.write(path, "".join(f"{line}\n" for line in lines).encode())


def _write_records(
  concepts: Sequence[pool_lib.Concept], emoji: pathlib.Path, out: pathlib.Path
) -> None:
  """Write the test set, its head and its tail."""
  source = emoji / emoji_styles.RECORDS
  opened = prepared.records(source, "test")
  by_concept = {
    _key(record.key): _in_languages(record)
    for record in (opened[position] for position in range(len(opened)))
  }
  ranks = pool_lib.ranked([concept.key for concept in concepts])
  test = [by_concept[key] for key in ranks if key in by_concept]
  num = int(ENDS * len(test))
  splits: Mapping[str, list[array_record.Record]] = {
    "test": test,
    "head": test[:num],
    "tail": test[-num:],
  }
  versions = prepared.read_manifest(source).versions
  prepared.prepare(out, lambda: splits, versions=versions)


def _in_languages(record: array_record.Record) -> array_record.Record:
  texts = {language: record.texts[language] for language in pool_lib.LANGUAGES}
  return dataclasses.replace(record, texts=texts)


def _key(uid: str) -> str:
  """Return the code points of a uid "ARTIST:CODES"."""
  return uid.partition(":")[2]


if __name__ == "__main__":
  program.run(main, _FLAGS)
