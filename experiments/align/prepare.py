"""Writes the data of ALIGN's study: fewer pairs, wrong captions, a tokenizer.

  python -m experiments.parts.emoji_styles --packages=packages \\
    --out=cache/emoji_styles
  python -m experiments.align.prepare --emoji=cache/emoji_styles \\
    --out=cache/align

`records` below --out has splits of the training pairs of emoji_styles, with
English names but for the last one:

  english     all pairs
  quarter     QUARTER of the concepts, drawn by hash
  noisy       all pairs, of which WRONG have the name of another picture
  noisy_half  the same, with half as many wrong names
  noisy_quarter  the pairs of quarter, as noisy has them
  languages   all pairs, with names in all languages, one of which is drawn for
              each step

and, for each language L, `test_L`: the split test with the names in L. All
texts are filed under "en", the one language of data.languages: a run that has
seen English alone is then asked in the others too.

`tokenizer` is byte-pair encoding of the training pairs' names in all languages,
which all arms read. facts.json, written last, has the counts.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import app, flags

from experiments.parts import (
  emoji_styles,
  icon_sets,
  program,
  trained_tokenizer,
)
from input_pipeline.sources import array_record, prepared
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_EMOJI = flags.DEFINE_string(
  "emoji", None, "Folder of emoji_styles.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

QUARTER = 0.25
WRONG = 0.5
VOCAB_SIZE = 4096
_SALT = "diptych-align-1"
_TONES = frozenset(f"{code:X}" for code in range(0x1F3FB, 0x1F400))


def main(argv: Sequence[str]) -> None:
  del argv
  if not _EMOJI.value or not _OUT.value:
    raise app.UsageError("--emoji=FOLDER and --out=FOLDER are both needed")
  facts = make(pathlib.Path(_EMOJI.value), pathlib.Path(_OUT.value))
  print(json.dumps(facts, indent=2))


def make(emoji: pathlib.Path, out: pathlib.Path) -> dict[str, dict[str, int]]:
  """Write what is not there yet; return pairs and wrong ones by split."""
  if (out / "facts.json").is_file():
    return json.loads((out / "facts.json").read_bytes())
  out.mkdir(parents=True, exist_ok=True)
  pairs, held_out = (_read(emoji, split) for split in ("train", "test"))
  english = [_with_texts(pair, pair.texts["en"]) for pair in pairs]
  is_quarter = [
    icon_sets.draw(_SALT, "part", _concept(pair)) < QUARTER for pair in english
  ]
  noisy = swap(english, WRONG)
  splits = {
    "english": english,
    "quarter": [*itertools.compress(english, is_quarter)],
    "noisy": noisy,
    "noisy_half": swap(english, WRONG / 2),
    "noisy_quarter": [*itertools.compress(noisy, is_quarter)],
    "languages": [
      _with_texts(pair, [x for some in pair.texts.values() for x in some])
      for pair in pairs
    ],
    **{
      f"test_{x}": [_with_texts(pair, pair.texts[x]) for pair in held_out]
      for x in emoji_styles.LANGUAGES
    },
  }
  manifest = prepared.read_manifest(emoji / emoji_styles.RECORDS)
  prepared.prepare(
    out / emoji_styles.RECORDS, lambda: splits, versions=manifest.versions
  )
  (out / "tokenizer").mkdir(exist_ok=True)
  texts = [text for pair in pairs for x in pair.texts.values() for text in x]
  trained_tokenizer.write(out / "tokenizer", texts, VOCAB_SIZE)
  right = {pair.key: pair.texts for pair in english}
  facts = {
    name: {
      "pairs": len(listed),
      "wrong": sum(pair.texts != right[pair.key] for pair in listed),
    }
    for name, listed in splits.items()
    if name != "languages" and not name.startswith("test_")
  }
  whole_files.write(
    out / "facts.json", (json.dumps(facts, indent=2) + "\n").encode()
  )
  return facts


def swap(
  pairs: Sequence[array_record.Record], share: float
) -> list[array_record.Record]:
  """Return the pairs, `share` of them with the text of another of these.

  The chosen pairs pass their texts on in a circle, in an order drawn by hash. A
  pair that is chosen for a share is chosen for each larger one.
  """
  chosen = [
    position
    for position, pair in enumerate(pairs)
    if icon_sets.draw(_SALT, "wrong", pair.key) < share
  ]
  order = sorted(
    chosen, key=lambda at: icon_sets.draw(_SALT, "order", pairs[at].key)
  )
  made = list(pairs)
  for at, other in zip(order, np.roll(order, 1).tolist(), strict=True):
    made[at] = _with_texts(pairs[at], pairs[other].texts["en"])
  return made


def _read(emoji: pathlib.Path, split: str) -> list[array_record.Record]:
  records = prepared.records(emoji / emoji_styles.RECORDS, split)
  return [records[position] for position in range(len(records))]


def _with_texts(
  pair: array_record.Record, texts: Sequence[str]
) -> array_record.Record:
  return dataclasses.replace(pair, texts={"en": tuple(texts)})


def _concept(pair: array_record.Record) -> str:
  """Return the code points without the skin tone, of a key "ARTIST:CODES"."""
  codes = pair.key.partition(":")[2].split("-")
  return "-".join(x for x in codes if x not in _TONES)


if __name__ == "__main__":
  program.run(main, _FLAGS)
