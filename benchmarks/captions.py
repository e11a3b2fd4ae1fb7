"""Captions by grammar: captions a second and core, of each domain's grammar.

  python -m benchmarks.captions

Each caption is drawn as training draws it: the grammar is filled with fields
of an example (filled.draw), of --records made-up ones in turn. The example's
generator (examples.rng), which the image needs too, is measured alone and taken
off. captions/s is of the median round, by the CPU time of the process, which
other work disturbs less than the clock.
"""

import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import app, flags

from configs import bioclip, streetclip
from input_pipeline import examples
from input_pipeline.grammars import filled
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config

_CAPTIONS = flags.DEFINE_integer("captions", 200_000, "Captions a round.", 1)
_RECORDS = flags.DEFINE_integer("records", 1000, "Examples.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds.", lower_bound=1)
_SEED = 1
_BATCH_SIZE = 256


def grammars() -> dict[str, ml_collections.ConfigDict]:
  """Return the sections of sources with a grammar, by name of the domain."""
  found = {}
  for name, config in (
    ("streetclip:plain", streetclip.get_config("plain")),
    ("streetclip:pigeon", streetclip.get_config("pigeon")),
    ("bioclip", bioclip.get_config()),
  ):
    section = config.data.sources.main
    found[name] = section
    if section.grammar_draw == "batch":
      each = ml_collections.ConfigDict(section.to_dict())
      each.grammar_draw = "example"
      found[f"{name}, per example"] = each
  return found


def make_records(names: Sequence[str], number: int) -> list[record_lib.Record]:
  """Return examples with a value for each field, of two to four words."""
  return [
    record_lib.Record(
      key=str(i),
      image=b"",
      texts={"en": ("",)},
      fields={
        name: " ".join([name.title(), *["Word"] * (1 + i % 3), str(i)])
        for name in names
      },
    )
    for i in range(number)
  ]


def seconds(
  texts: filled.Texts | None, records: Sequence[record_lib.Record]
) -> float:
  """Return the CPU time of a round; without texts, of the generators alone."""
  start = time.process_time()
  for position in range(_CAPTIONS.value):
    rng = examples.rng(_SEED, position, 0)
    if texts is not None:
      filled.draw(
        *(texts, records[position % len(records)], rng),
        batch=(_SEED, position // _BATCH_SIZE),
        max_chars=10_000,
      )
  return time.process_time() - start


def run() -> list[dict[str, Any]]:
  """Return a row for each grammar."""
  rows = []
  for name, section in grammars().items():
    source = source_config.SourceConfig(**section.to_dict())
    texts = filled.make(source)
    assert texts is not None  # these sections have grammars
    fields = [field for field, _ in source.grammar_fields]
    records = make_records(fields, _RECORDS.value)
    taken = [
      seconds(texts, records) - seconds(None, records)
      for _ in range(_ROUNDS.value)
    ]
    rate = _CAPTIONS.value / statistics.median(taken)
    rows.append({"grammar": name, "captions_per_s": round(rate)})
  return rows


def main(argv: Sequence[str]) -> None:
  del argv
  for row in run():
    print(json.dumps(row))


if __name__ == "__main__":
  app.run(main)
