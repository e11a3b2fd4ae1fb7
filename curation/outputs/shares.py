"""Shares of languages, places and demographic terms after each step.

The field `shares` of manifest.json; each list has a number for each of
`points`, the readable pairs of the pool and the pairs that each step left:

  lists       digest of the lists and of the rule (shares/lexicon.py)
  sources     name, address, licence and use of each list
  points      "read", and the names of the steps
  pairs       number of pairs
  sampled     number of these whose captions are looked at, for places and
              terms: all in a pool of up to about 50,000 pairs
  languages   `source`: "pool" (its own language of each pair), the name of the
              step that identified it, or "not known"; `counts`: language ->
              numbers, null before the step that identified it
  places      `any`: pairs that name a territory; `counts`: ISO 3166-1 code ->
              numbers
  terms       group -> `any` and `counts`, as of places

Where `sampled` is less than `pairs`, places and terms have `intervals`, of
`any` and of each of `counts`: Wilson's of 95 %, [low, high] of the share. The
sample is by a hash of the UID: the same for any engine and order of shards.
"""

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from curation import pool as pool_lib
from curation.engine import shard_file, shard_pass
from curation.outputs import share_counts
from curation.rules import language
from curation.shares import caption_labels, lexicon, lists
from evaluators.metrics import intervals

_POOL = "pool"
# Shards whose counts are in memory at once.
_NUM_SHARDS = 256
# Formats whose captions each have a language of their own.
_OWN_LANGUAGES = ("emoji", "array_record", "tfds")


def make(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  run: Callable[[Callable[[pool_lib.Shard], Any], Sequence], list[Any]],
) -> dict[str, Any]:
  """Return the manifest's field.

  Args:
    work: work of the last stage.
    shards: shards whose signals are written.
    run: function that maps a function over the shards.
  """
  # The order of the pool's files has no effect.
  shards = sorted(shards, key=lambda shard: shard.name)
  num_points, num_labels = len(work.steps) + 1, len(lexicon.opened().labels)
  total = share_counts.Counts(
    pairs=np.zeros(num_points, np.int64),
    sampled=np.zeros(num_points, np.int64),
    labels=np.zeros((num_points, num_labels), np.int64),
    groups=np.zeros((num_points, len(share_counts.group_names())), np.int64),
    own={},
    identified={},
  )
  parts = [
    shards[start : start + _NUM_SHARDS]
    for start in range(0, len(shards), _NUM_SHARDS)
  ]
  bound, step = caption_labels.WHOLE, _identifier(work)
  signal = work.steps[step].signals[0] if step else ""
  for part in parts:
    bound = min(
      bound, *run(functools.partial(share_counts.read_captions, work), part)
    )
  for part in parts:
    for counts in run(
      functools.partial(share_counts.of_shard, work, bound, signal), part
    ):
      total.add(counts)
  return _fields(work, total)


def _identifier(work: shard_pass.Work) -> str:
  """Return the name of the first step that identifies languages, or ""."""
  names = [n for n, s in work.steps.items() if isinstance(s, language.Language)]
  return names[0] if names else ""


def _fields(
  work: shard_pass.Work, total: share_counts.Counts
) -> dict[str, Any]:
  labels = lexicon.opened().labels
  by_group: dict[str, Any] = {
    name: {"any": total.groups[:, number].tolist(), "counts": {}}
    for number, name in enumerate(share_counts.group_names())
  }
  for number, (group, label) in enumerate(labels):
    if total.labels[0, number]:
      by_group[group]["counts"][label] = total.labels[:, number].tolist()
  if not np.array_equal(total.sampled, total.pairs):
    for fields in by_group.values():
      fields["intervals"] = {
        "any": _intervals(fields["any"], total.sampled),
        "counts": {
          label: _intervals(numbers, total.sampled)
          for label, numbers in fields["counts"].items()
        },
      }
  places = by_group.pop(lists.PLACES)
  return {
    "lists": work.shares,
    "sources": lists.sources(),
    "points": [shard_file.READ, *work.steps],
    "pairs": total.pairs.tolist(),
    "sampled": total.sampled.tolist(),
    "languages": _known(work, total),
    "places": places,
    "terms": by_group,
  }


def _intervals(counts: Sequence[int], sampled: np.ndarray) -> list[list[float]]:
  """Return Wilson's interval of each share; [0, 1] of no pairs."""
  return intervals.wilson(np.array(counts), sampled).round(6).tolist()


def _known(work: shard_pass.Work, total: share_counts.Counts) -> dict[str, Any]:
  """Return the languages of the pool, else those that a step identified."""
  config = json.loads((work.copy.address / "pool.json").read_text())["pool"]
  declared = share_counts.language_of(config["language"])
  # The language that the pool's section declares for all is not known of each.
  is_own = (
    bool(config["language_field"])
    or config["format"] in _OWN_LANGUAGES
    or not set(total.own) <= {declared, share_counts.UNKNOWN}
  )
  step = _identifier(work)
  first, source, languages = 0, _POOL, total.own
  if not is_own and step:
    first, source = list(work.steps).index(step), step
    languages = total.identified
  elif not is_own:
    source, languages = (
      share_counts.UNKNOWN,
      {share_counts.UNKNOWN: total.pairs},
    )
  counts = {
    name: [None] * first + numbers[first:].tolist()
    for name, numbers in sorted(languages.items())
    if numbers[first]
  }
  return {"source": source, "counts": counts}
