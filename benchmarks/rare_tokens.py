"""ALIGN's rare-token rule: speed of its passes, size of its sets; on one core.

taskset -c 0 python -m benchmarks.rare_tokens

Captions are those of benchmarks/curation.py, of nine words on average. The peer
counts the same words and word pairs by collections.Counter in a plain loop, and
looks them up in a Python set of all that occur more than once. Both take turns;
captions/s is the rate of the median turn, ratios are medians of the rounds'
ratios, by the clock and by CPU time.

Reducing merges the shards' counts to the list of the most frequent terms; the
peak of memory is that of a process that only reduces, for --shards shards and
for ten times as many shards of the same captions. The false positives of the
Bloom filter are measured with hashes that are not in it.
"""

import collections
import itertools
import json
import multiprocessing
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from absl import app, flags

from benchmarks import curation, memory
from curation import operators
from curation.keys import bloom
from curation.rules import rare_tokens

_TURNS = flags.DEFINE_integer(
  "turns", 5, "Turns of each contestant.", lower_bound=1
)
_CAPTIONS = flags.DEFINE_integer("captions", 65_536, "Captions per turn.")
_SHARDS = flags.DEFINE_integer(
  "shards", 20, "Shards to reduce, each of --captions captions."
)
_TERMS = flags.DEFINE_integer(
  "terms", 500_000, "Terms in the list of the most frequent."
)
_AS_JSON = flags.DEFINE_bool("as_json", False, "Print one JSON object.")

# Captions of a batch, as curation.pool.TEXT_ROWS.
_BATCH = 16_384
# Keys of the Bloom filter that is measured.
_NUM_KEYS = 10_000_000


def plain_terms(text: str) -> list[Any]:
  """Return a caption's words and pairs of words."""
  words = text.lower().split()
  return [*words, *itertools.pairwise(words)]


def plain_count(texts: Sequence[str]) -> collections.Counter:
  """Count terms one by one."""
  counter = collections.Counter()
  for text in texts:
    counter.update(plain_terms(text))
  return counter


def count(
  step: rare_tokens.RareTokens, tables: Sequence[pa.Table], path: pathlib.Path
) -> None:
  """Count terms as a shard's pass does, and write the counts."""
  measure = step.measure(_place(path.parent))
  for table in tables:
    measure.add(table)
  measure.save(path)


def compare(folder: pathlib.Path) -> dict[str, float]:
  """Return our and the peer's speeds of counting and of looking up."""
  texts = curation.make_captions(_CAPTIONS.value)
  tables = tables_of(texts)
  step = make_step(_TERMS.value)
  part = folder / "part"
  frequent = {t for t, n in plain_count(texts).items() if n > 1}
  count(step, tables, part)
  # The list has as many terms as the peer's set.
  step = make_step(len(frequent))
  step.reduce([part], _place(folder))
  decide = step.open(_place(folder))
  calls: dict[str, Callable[[], object]] = {
    "count": lambda: count(step, tables, part),
    "plain_count": lambda: plain_count(texts),
    "look_up": lambda: [decide(table) for table in tables],
    "plain_look_up": lambda: [
      frequent.issuperset(plain_terms(text)) for text in texts
    ],
  }
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
  # The first turn warms up.
  for _ in range(1 + _TURNS.value):
    for name, call in calls.items():
      times[name].append(timed(call))
  results = {}
  for name in ("count", "look_up"):
    ours, plain = times[name][1:], times[f"plain_{name}"][1:]
    for index, clock in enumerate(("", "cpu_")):
      for who, turns in (("", ours), ("plain_", plain)):
        seconds = statistics.median(turn[index] for turn in turns)
        results[f"{who}{name}_captions_per_{clock}s"] = len(texts) / seconds
      results[f"{name}_{clock}ratio"] = statistics.median(
        b[index] / a[index] for a, b in zip(ours, plain, strict=True)
      )
  results["part_bytes_per_caption"] = part.stat().st_size / len(texts)
  return results


def reduce(num_shards: int, scale: int, folder: str, out: Any) -> None:
  """Reduce in a fresh process; put seconds, rows and memory into `out`."""
  context = _place(pathlib.Path(folder))
  parts = sorted(context.workdir.glob(f"{scale}-*"))
  assert len(parts) == num_shards
  step = make_step(500_000)
  before = memory.peak_mib("self")
  wall, _ = timed(lambda: step.reduce(parts, context))
  size = sum(part.stat().st_size for part in parts)
  out.put((wall, size / 16, memory.peak_mib("self"), before))


def measure_reduction(folder: pathlib.Path) -> dict[str, float]:
  """Return the speed of reducing, and its memory for two numbers of shards."""
  step = make_step(_TERMS.value)
  texts = curation.make_captions(_CAPTIONS.value * 4)
  rng = np.random.default_rng(0)
  results = {}
  for scale in (1, 10):
    num_shards = _SHARDS.value * scale
    for number in range(num_shards):
      rows = rng.integers(0, len(texts), _CAPTIONS.value // scale)
      tables = tables_of([texts[row] for row in rows])
      count(step, tables, folder / f"{scale}-{number:05d}")
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    work = context.Process(
      target=reduce, args=(num_shards, scale, str(folder), out)
    )
    work.start()
    wall, num_rows, peak, before = out.get()
    work.join()
    results[f"reduce_{num_shards}_shards_rows_per_s"] = num_rows / wall
    results[f"reduce_{num_shards}_shards_mib"] = peak - before
  return results


def measure_bloom() -> dict[str, float]:
  """Return size and false positives of the filter, at the config's rate."""
  rng = np.random.default_rng(0)
  keys = rng.integers(0, 2**64, _NUM_KEYS, np.uint64)
  made = bloom.make(len(keys), 0.001)
  wall, _ = timed(lambda: made.add(keys))
  bits, _ = bloom.size(len(keys), 0.001)
  others = rng.integers(0, 2**64, 2_000_000, np.uint64)
  return {
    "bloom_added_per_s": len(keys) / wall,
    "bloom_bits_per_key": bits / len(keys),
    "bloom_false_positives": float(made.contains(others).mean()),
    "exact_bits_per_key": 64.0,
  }


def make_step(num_terms: int) -> rare_tokens.RareTokens:
  """Return ALIGN's step, with another number of terms."""
  return rare_tokens.RareTokens(num_terms, True, True, "exact", 0.001)


def tables_of(texts: Sequence[str]) -> list[pa.Table]:
  """Return the texts as tables, as a pool yields them."""
  starts = range(0, len(texts), _BATCH)
  return [pa.table({"text": texts[i : i + _BATCH]}) for i in starts]


def timed(call: Callable[[], object]) -> tuple[float, float]:
  """Return the seconds of a call, by the clock and by this process's CPU."""
  wall, cpu = time.perf_counter(), time.process_time()
  call()
  return time.perf_counter() - wall, time.process_time() - cpu


def _place(folder: pathlib.Path) -> operators.StepContext:
  return operators.StepContext(folder, folder, folder)


def main(argv: Sequence[str]) -> None:
  del argv
  pa.set_cpu_count(1)
  with tempfile.TemporaryDirectory() as name:
    results = compare(pathlib.Path(name))
  with tempfile.TemporaryDirectory() as name:
    results |= measure_reduction(pathlib.Path(name))
  results |= measure_bloom()
  if _AS_JSON.value:
    print(json.dumps(results))
    return
  for key, value in results.items():
    print(f"{key}: {value:,.4g}" if value < 1000 else f"{key}: {value:,.0f}")


if __name__ == "__main__":
  app.run(main)
