"""MetaCLIP's matching and balancing: speed, memory, exactness; on one core.

pip install "pyahocorasick>=2.3,<3"
taskset -c 0 python -m benchmarks.curation

Captions consist of the words of wordfreq, each as often as in English (Zipf),
with punctuation; the 500,000 entries are its 260,000 most frequent words and
pairs, triples and fours of words. The peer is pyahocorasick in a plain loop: a
caption is spaced by str.replace, matched by `iter`, and its set of entries is
counted with NumPy. Both take turns; captions/s is the rate of the median turn,
spacing and counting included, and the ratio is the median of the rounds'
ratios, by the clock and by CPU time.

`by_script` is the rule for scripts without spaces, with as many made-up entries
and captions of Han characters. Memory is the resident memory that a matcher
adds to a process of its own, at its end, and the peak while it was made.

Exactness compares the counts of all entries with a search for each of 5,000
entries in 20,000 captions in six scripts, in both modes and by both rules for
ends.
"""

import functools
import importlib
import json
import multiprocessing
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import wordfreq
from absl import app, flags

from benchmarks import memory
from curation.captions import balancing, matching
from curation.keys import hashing
from input_pipeline.storage import uids as uids_lib
from tests.curation import caption_texts as made
from tests.curation.captions import test_matching

_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Rounds; each contestant has one turn a round.", lower_bound=1
)
_NUM_ENTRIES = flags.DEFINE_integer(
  "num_entries", 500_000, "Entries in the metadata."
)
_NUM_CAPTIONS = flags.DEFINE_integer(
  "num_captions", 100_000, "Captions per round."
)
_NUM_PAIRS = flags.DEFINE_integer("num_pairs", 4_000_000, "Pairs to balance.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

_NUM_UNIGRAMS = 260_000
# Words that captions and longer entries are drawn from.
NUM_WORDS = 50_000
# Captions of a batch, as curation.pool.TEXT_ROWS.
_BATCH = 16_384
# Matches of one pair in MetaCLIP's first pool (arXiv 2309.16671).
_MATCHES_PER_PAIR = 3.5


@functools.cache
def words() -> np.ndarray:
  """Return English words, the most frequent first."""
  number = _NUM_UNIGRAMS
  return np.array(wordfreq.top_n_list("en", number, wordlist="large"), object)


def _chances(power: float) -> np.ndarray:
  weights = (np.arange(NUM_WORDS) + 2.7) ** -power
  return weights / weights.sum()


def make_entries(number: int) -> list[str]:
  """Return distinct words and sequences of 2 to 4 words."""
  rng = np.random.default_rng(0)
  entries = dict.fromkeys(words()[:number])
  while len(entries) < number:
    size = int(rng.choice([2, 3, 4], p=[0.75, 0.2, 0.05]))
    for row in words()[rng.choice(NUM_WORDS, (20_000, size), p=_chances(0.7))]:
      entries[" ".join(row)] = None
  return list(entries)[:number]


def make_captions(number: int) -> list[str]:
  """Return captions of about nine words, some with punctuation."""
  rng = np.random.default_rng(1)
  sizes = np.clip(rng.poisson(9, number), 1, 40)
  chosen = words()[rng.choice(NUM_WORDS, sizes.sum(), p=_chances(1.0))]
  ends = rng.choice(["", ",", "."], sizes.sum(), p=[0.91, 0.06, 0.03])
  chosen = chosen + ends.astype(object)
  stops = np.cumsum(sizes)
  return [
    " ".join(chosen[stop - size : stop])
    for stop, size in zip(stops, sizes, strict=True)
  ]


def make_han_entries(number: int) -> list[str]:
  """Return distinct sequences of 1 to 6 Han characters."""
  rng = np.random.default_rng(2)
  entries: dict[str, None] = {}
  while len(entries) < number:
    size = int(rng.integers(1, 7))
    codes = 0x4E00 + rng.zipf(1.2, (20_000, size)) % 4000
    entries |= dict.fromkeys("".join(map(chr, row)) for row in codes)
  return list(entries)[:number]


def make_han_captions(number: int) -> list[str]:
  """Return captions of about twenty Han characters."""
  rng = np.random.default_rng(3)
  sizes = np.clip(rng.poisson(20, number), 1, 60)
  codes = 0x4E00 + rng.zipf(1.2, sizes.sum()) % 4000
  whole = "".join(map(chr, codes))
  return [
    whole[stop - size : stop]
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True)
  ]


def make_plain(entries: list[str], ends: str = "both") -> Any:
  """Return the peer's automaton; all ends are bare with "by_script"."""
  automaton = importlib.import_module("ahocorasick").Automaton()
  space = " " if ends == "both" else ""
  for number, entry in enumerate(entries):
    automaton.add_word(f"{space}{entry}{space}", number)
  automaton.make_automaton()
  return automaton


def count_plain(
  automaton: Any, texts: Sequence[str], num_entries: int
) -> np.ndarray:
  """Count the captions that match each entry, caption by caption."""
  counts = np.zeros(num_entries, np.int64)
  for text in texts:
    text = f" {text} "
    for char in ",.;:?!`":
      text = text.replace(char, f" {char} ")
    for char in "\t\n\r":
      text = text.replace(char, " ")
    counts[list({number for _, number in automaton.iter(text)})] += 1
  return counts


def count_ours(
  matcher: matching.Matcher, texts: pa.Array, num_entries: int
) -> np.ndarray:
  """Count the captions that match each entry, batch by batch."""
  counts = np.zeros(num_entries, np.int64)
  for start in range(0, len(texts), _BATCH):
    ids = matcher.match(texts.slice(start, _BATCH)).ids
    counts += np.bincount(ids, minlength=num_entries)
  return counts


def make_ours(entries: list[str], ends: str = "both") -> matching.Matcher:
  """Return our matcher."""
  return matching.make(pa.array(entries), mode="parity", ends=ends)


def compare_speed(
  entries: list[str], texts: list[str], ends: str
) -> dict[str, float]:
  """Return captions/s of both contestants, and ratios."""
  array = pa.array(texts)
  plain, ours = make_plain(entries, ends), make_ours(entries, ends)
  contestants = {
    "plain": lambda: count_plain(plain, texts, len(entries)),
    "ours": lambda: count_ours(ours, array, len(entries)),
  }
  counts = {name: count() for name, count in contestants.items()}
  np.testing.assert_array_equal(counts["plain"], counts["ours"])
  seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in counts}
  order = list(contestants)
  for _ in range(_ROUNDS.value):
    for name in order:
      seconds[name].append(_timed(contestants[name]))
    order.reverse()
  wall, cpu = (
    {name: [pair[i] for pair in pairs] for name, pairs in seconds.items()}
    for i in range(2)
  )
  return {
    "matches_per_caption": float(counts["ours"].sum() / len(texts)),
    "plain_captions_per_s": len(texts) / statistics.median(wall["plain"]),
    "ours_captions_per_s": len(texts) / statistics.median(wall["ours"]),
    "ratio": _ratio(wall["plain"], wall["ours"]),
    "cpu_ratio": _ratio(cpu["plain"], cpu["ours"]),
  }


def measure_balancing() -> dict[str, float]:
  """Return pairs/s of hashing, computing a probability and drawing."""
  rng = np.random.default_rng(0)
  number, num_entries = _NUM_PAIRS.value, _NUM_ENTRIES.value
  counts = (1e8 / (np.arange(num_entries) + 1.0) ** 1.1).astype(np.int64)
  misses = balancing.miss_probabilities(counts, 20_000)
  sizes = rng.poisson(_MATCHES_PER_PAIR, number)
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  ids = np.minimum(rng.zipf(1.3, offsets[-1]), num_entries - 1)
  ids = ids.astype(np.uint32)
  uids = np.empty(number, uids_lib.UID)
  for half in uids_lib.UID.names or ():
    uids[half] = rng.integers(0, 2**63, number)

  def balance() -> int:
    kept = 0
    for start in range(0, number, _BATCH):
      own = offsets[start : start + _BATCH + 1]
      matches = matching.Matches(own - own[0], ids[own[0] : own[-1]])
      chances = balancing.keep_probabilities(matches, misses)
      draws = hashing.uniform(uids[start : start + _BATCH], 0)
      kept += int(np.count_nonzero(draws < chances))
    return kept

  seconds = [_timed(balance) for _ in range(_ROUNDS.value)]
  wall, cpu = (statistics.median(x) for x in zip(*seconds, strict=True))
  return {"pairs_per_s": number / wall, "pairs_per_cpu_s": number / cpu}


def _grown(name: str, number: int) -> tuple[float, float]:
  """Return the MiB that a matcher adds to this process: at its end, at peak."""
  make_list, make = _MATCHERS[name]
  entries = make_list(number)
  before = _resident()
  matcher = make(entries)
  grown = _resident() - before
  peak = memory.peak_mib("self") - before
  del matcher
  return grown, peak


def _resident() -> float:
  status = pathlib.Path("/proc/self/status").read_text()
  (line,) = (x for x in status.splitlines() if x.startswith("VmRSS:"))
  return int(line.split()[1]) / 1024


_MATCHERS: dict[str, tuple[Callable, Callable]] = {
  "plain": (make_entries, make_plain),
  "ours": (make_entries, make_ours),
  "ours by_script": (
    make_han_entries,
    functools.partial(make_ours, ends="by_script"),
  ),
}


def measure_memory() -> dict[str, tuple[float, float]]:
  """Return MiB of each matcher, made in a process of its own."""
  context = multiprocessing.get_context("spawn")
  memory_by_name = {}
  for name in _MATCHERS:
    # One process for each, so that no memory is left over from another.
    with context.Pool(1) as pool:
      memory_by_name[name] = pool.apply(_grown, (name, _NUM_ENTRIES.value))
  return memory_by_name


def check_exactness() -> int:
  """Return the number of compared counts; raise if two differ."""
  texts, entries = made.make(20_000, 5000)
  array, num_compared = pa.array(texts), 0
  for mode in matching.MODES:
    for ends in matching.ENDS:
      matcher = matching.make(pa.array(entries), mode=mode, ends=ends)
      got = count_ours(matcher, array, len(entries))
      pairs = test_matching.brute_force(texts, entries, mode, ends)
      expected = np.bincount(pairs[:, 1], minlength=len(entries))
      np.testing.assert_array_equal(got, expected)
      num_compared += len(entries)
  return num_compared


def _timed(call: Callable[[], object]) -> tuple[float, float]:
  """Return the seconds of a call, by the clock and by this process's CPU."""
  wall, cpu = time.perf_counter(), time.process_time()
  call()
  return time.perf_counter() - wall, time.process_time() - cpu


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
  return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def main(argv: Sequence[str]) -> None:
  del argv
  pa.set_cpu_count(1)
  results = {
    "matching": compare_speed(
      make_entries(_NUM_ENTRIES.value),
      make_captions(_NUM_CAPTIONS.value),
      "both",
    ),
    "matching by_script": compare_speed(
      make_han_entries(_NUM_ENTRIES.value),
      make_han_captions(_NUM_CAPTIONS.value // 4),
      "by_script",
    ),
    "balancing": measure_balancing(),
    "memory_mib": measure_memory(),
    "exact_counts": check_exactness(),
  }
  if _JSON.value:
    print(json.dumps(results))
    return
  for name in ("matching", "matching by_script"):
    speed = results[name]
    print(
      f"{name}: {speed['ours_captions_per_s']:,.0f} captions/s, plain loop"
      f" {speed['plain_captions_per_s']:,.0f}: {speed['ratio']:.2f} times, by"
      f" CPU time {speed['cpu_ratio']:.2f}"
      f" ({speed['matches_per_caption']:.1f} matches each)"
    )
  pairs = results["balancing"]
  print(
    f"balancing: {pairs['pairs_per_s'] / 1e6:.1f} million pairs/s, by CPU time"
    f" {pairs['pairs_per_cpu_s'] / 1e6:.1f}"
  )
  for name, (grown, peak) in results["memory_mib"].items():
    print(f"memory, {name}: {grown:.0f} MiB, {peak:.0f} while it is made")
  print(f"exact: {results['exact_counts']} counts equal a brute-force search")


if __name__ == "__main__":
  app.run(main)
