"""Selections of the pool, one for each arm, of equally many pairs.

DFN keeps the quarter of the pool with the highest scores. MetaCLIP's t is the
smallest whole number at which balancing is expected to keep enough pairs: a
quarter of the pool, or half of it where a filter then keeps the better half.
Pairs beyond a quarter of the pool are dropped at random.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.captions import balancing, match_counts, matching
from curation.keys import hashing
from experiments.dfn import config, filter_pairs
from input_pipeline.storage import uids as uids_lib
from runtime import failures
from runtime.storage import whole_files

# Share of the pool that each selection has; ours, that of experiments/curation.
SHARE = 0.25
# Number of t, in the workdir of a curation that balances.
T = "t.txt"
RANDOM = "random"
# Factor on the number of pairs that t is chosen for, so that the draws do not
# keep fewer: of 10,000 pairs, their standard deviation is at most 87.
_MARGIN = 1.05
# Seeds of draws by UID: which pairs are dropped, and which are the random ones.
_THIN_SEED, _RANDOM_SEED = 1, 2


@dataclasses.dataclass(frozen=True)
class Filter:
  """A filter network.

  Attributes:
    pairs: pairs that it is trained on, a key of filter_pairs.REPLACED.
    num_examples: number of pairs that it sees.
  """

  pairs: str
  num_examples: int = config.NUM_EXAMPLES


@dataclasses.dataclass(frozen=True)
class Curated:
  """A selection by --task=curate.

  Attributes:
    variant: variant of curate.py.
    filter_name: key of FILTERS; "" for none.
    fraction: share of the pairs scored by the filter that it keeps; 1 without
      a filter.
  """

  variant: str
  filter_name: str = ""
  fraction: float = 1.0

  @property
  def has_balance(self) -> bool:
    """Whether MetaCLIP's balancing is among the steps."""
    return self.variant.startswith("metaclip")


FILTERS: Mapping[str, Filter] = {
  **{name: Filter(name) for name in filter_pairs.REPLACED},
  # The same noisy pairs, seen four times as often: a better model, perhaps.
  "noisy_long": Filter("noisy", config.LONG_EXAMPLES),
}
CURATED: Mapping[str, Curated] = {
  **{f"dfn_{name}": Curated("dfn", name, SHARE) for name in FILTERS},
  "metaclip": Curated("metaclip"),
  "metaclip_dfn": Curated("metaclip_dfn", "clean", 0.5),
}


def filter_folder(out: pathlib.Path, name: str) -> pathlib.Path:
  """Return the run of a filter."""
  return out / "filters" / name


def curated_folder(out: pathlib.Path, name: str) -> pathlib.Path:
  """Return the workdir of a curation."""
  return out / "curated" / name


def path(out: pathlib.Path, name: str) -> pathlib.Path:
  """Return the file of a selection."""
  return out / "selections" / f"{name}.npy"


def choose_t(out: pathlib.Path, name: str) -> None:
  """Write the t of a curation whose captions are matched.

  Raises:
    RunError: no t keeps enough pairs.
  """
  folder = curated_folder(out, name)
  signals = _signals(folder, ["matches"])
  matched = signals.filter(pc.is_valid(signals["matches"]))
  matches = match_counts.matches_of(matched)
  num = SHARE * len(signals) / CURATED[name].fraction
  t = smallest_t(matches, _MARGIN * num)
  if t is None:
    raise failures.RunError(
      f"selection {name} needs {num:.0f} pairs, and a margin of"
      f" {_MARGIN - 1:.0%}; {len(matched)} of the pool match an entry"
    )
  whole_files.write(folder / T, f"{t}\n".encode())


def read_t(out: pathlib.Path, name: str) -> int:
  """Return the t of a curation that balances."""
  return int((curated_folder(out, name) / T).read_text())


def smallest_t(matches: matching.Matches, num: float) -> int | None:
  """Return the smallest t that keeps `num` pairs in expectation, or None."""
  counts = np.bincount(matches.ids)

  def expected(t: int) -> float:
    misses = balancing.miss_probabilities(counts, t)
    return float(balancing.keep_probabilities(matches, misses).sum())

  highest = int(counts.max(initial=0))
  if not highest or expected(highest) < num:
    return None
  # It rises with t.
  low = 1
  while low < highest:
    middle = (low + highest) // 2
    low, highest = (
      (low, middle) if expected(middle) >= num else (middle + 1, highest)
    )
  return low


def thin(out: pathlib.Path, name: str) -> None:
  """Write a selection, of what --task=curate kept.

  Raises:
    RunError: it kept fewer pairs than a selection has.
  """
  kept = np.load(
    curated_folder(out, name) / "selection.npy", allow_pickle=False
  )
  num = num_kept(out)
  if len(kept) < num:
    raise failures.RunError(
      f"selection {name} must have {num} pairs; {len(kept)} were kept"
    )
  _write(out, name, drawn(kept, num, _THIN_SEED))


def draw_random(out: pathlib.Path) -> None:
  """Write a selection drawn from the whole pool."""
  if not path(out, RANDOM).exists():
    uids = pool_uids(len(kinds(out)))
    _write(out, RANDOM, drawn(uids, num_kept(out), _RANDOM_SEED))


def drawn(uids: np.ndarray, num: int, seed: int) -> np.ndarray:
  """Return `num` of UID [N], those with the lowest hashes."""
  order_N = np.argsort(hashing.h64(uids, seed), kind="stable")
  return uids[order_N[:num]]


def num_kept(out: pathlib.Path) -> int:
  """Return the number of pairs of each selection."""
  return int(SHARE * len(kinds(out)))


def kinds(out: pathlib.Path) -> np.ndarray:
  """Return the kind of each pair of the pool, an index in SHARES: uint8 [N]."""
  return np.load(out / "kinds.npy", allow_pickle=False)


def pool_uids(num: int) -> np.ndarray:
  """Return the UIDs of the pool's pairs, in its order: UID [N]."""
  return np.array(
    [uids_lib.uid(f"{row:09d}") for row in range(num)], uids_lib.UID
  )


def scores(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Return UIDs and scores of the pairs that a curation scored.

  UID [N] and float64 [N].
  """
  table = _signals(folder, ["uid", "score"])
  table = table.filter(pc.is_valid(table["score"]))
  uids = uids_lib.records(uids_lib.column_bytes(table["uid"]))
  return uids, table["score"].to_numpy().astype(float)


def _signals(folder: pathlib.Path, columns: list[str]) -> pa.Table:
  paths = sorted((folder / "signals").glob("*.parquet"))
  return pa.concat_tables([pq.read_table(x, columns=columns) for x in paths])


def _write(out: pathlib.Path, name: str, uids: np.ndarray) -> None:
  path(out, name).parent.mkdir(exist_ok=True)
  filter_pairs.save_subset(path(out, name), uids)
