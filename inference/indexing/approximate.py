"""Approximate search of an index: candidates by an index of a library.

  approximate/METHOD_DIGEST     index of faiss or usearch over the first rows

Candidates are scored again from the shards in float64: scores are those of an
exact search, and only a row may be missed. Rows that were added since are
searched exactly beside it, and rows that were removed are no results.

Shape letters: Q queries, E the embedding, K results.
"""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference.indexing import approximate_kinds, exact, index_folder

FOLDER = "approximate"
# Candidates beyond the results: rows whose scores float16 cannot tell apart.
_MORE = 10
# Most that a score of either library differs from that in float64: rows and
# query are rounded to float16. A row of another index differs by more.
_ROUNDING = 0.01
_ADVICE = "build it again by --task=index --approximate, or search with --exact"


@dataclasses.dataclass(frozen=True)
class Recall:
  """Share of the nearest rows that were found.

  Attributes:
    k: nearest rows of a query. A result counts where its score is among the k
      highest: of equal ones any will do.
    value: mean over queries.
    interval: of 95 %, over queries.
  """

  k: int
  value: float
  interval: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Queries:
  """Sample of queries.

  Attributes:
    kind: "texts", "captions" of rows, or "rows" (a row is no result of its
      own).
    source: file or folder of the texts; "" for the index itself.
    num_chosen: queries that the effort was chosen by.
    num_measured: others, that the recall was measured on.
    seed: seed of the draw.
  """

  kind: str
  source: str
  num_chosen: int
  num_measured: int
  seed: int


@dataclasses.dataclass(frozen=True)
class Facts:
  """Description of an approximate index, in the manifest.

  Attributes:
    method: key of approximate_kinds.KINDS.
    file: name in FOLDER.
    num_bytes: size of the file.
    num_rows: rows of the index that it holds, the first ones.
    rows_digest: digest of their embeddings.
    parameters: those that it was made with, and its effort (nprobe, ef).
    target_recall: least recall that the effort was chosen for.
    queries: sample of queries.
    recall: recall with that effort, by k.
    versions: version of the library.
  """

  method: str
  file: str
  num_bytes: int
  num_rows: int
  rows_digest: str
  parameters: Mapping[str, Any]
  target_recall: float
  queries: Queries
  recall: tuple[Recall, ...]
  versions: Mapping[str, str]

  def recall_of(self, num: int) -> Recall:
    """Return the recall of the least k that has `num` results, or the most."""
    return next((x for x in self.recall if x.k >= num), self.recall[-1])

  @property
  def effort(self) -> str:
    """Return the parameters in words, as nlist=89, nprobe=4."""
    shown = {k: v for k, v in self.parameters.items() if k != "seed"}
    return ", ".join(f"{name}={value}" for name, value in shown.items())

  def about(self, *recalls: Recall) -> str:
    """Return recalls in words."""
    shown = ", ".join(
      f"recall@{x.k} {x.value:.3f} ({x.interval[0]:.3f} to {x.interval[1]:.3f})"
      for x in recalls
    )
    queries = self.queries
    of = f" of {queries.source}" if queries.source else " of the index"
    return f"{shown} on {queries.num_measured} {queries.kind}{of}"


@dataclasses.dataclass(frozen=True)
class Approximate:
  """Opened approximate index.

  Attributes:
    index: index that it belongs to.
    kind: opened file.
    effort: nprobe or ef of a search.
    num_shards: shards that it holds, the first ones.
    facts: contents of the manifest; None while it is built.
  """

  index: index_folder.Index
  kind: approximate_kinds.Kind
  effort: int
  num_shards: int
  facts: Facts | None = None

  def method(self, num: int) -> dict[str, Any]:
    """Return method and recall of `num` results, as values for JSON."""
    assert self.facts is not None  # an index that is built answers no one
    recall = dataclasses.asdict(self.facts.recall_of(num)) | {
      "queries": dataclasses.asdict(self.facts.queries)
    }
    later = self.index.manifest.num_rows - self.num_rows
    return {
      "method": self.facts.method,
      "recall": recall,
      "num_compared_exactly": later,
    }

  @property
  def num_rows(self) -> int:
    """Return the number of rows that it holds; later ones are not in it."""
    return sum(map(len, self.index.shards[: self.num_shards]))

  def search(self, query_QE: np.ndarray, num: int) -> exact.Found:
    """Return the nearest rows of each query, but for some that are missed.

    Args:
      query_QE: queries of length 1, finite.
      num: results of a query, at least 1.

    Raises:
      ValueError: the file is of another index.
    """
    query_QE = np.asarray(query_QE, np.float64)
    shards, removed = self.index.shards, self.index.removed
    end = self.num_rows
    num = min(num, len(self.index))
    is_in = removed < end
    num_in = min(num, end - int(is_in.sum()))
    rows = self._candidates(query_QE, num_in)
    if end < self.index.manifest.num_rows:
      later = exact.search(
        *(shards[self.num_shards :], query_QE, num),
        removed=removed[~is_in] - end,
      )
      rows = [
        np.concatenate(parts)
        for parts in zip(rows, later.row_QK + end, strict=True)
      ]
    return exact.nearest(shards, rows, query_QE, num)

  def _candidates(self, query_QE: np.ndarray, num: int) -> Sequence[np.ndarray]:
    """Return at least `num` rows for each query, none of them removed."""
    end = self.num_rows
    removed = self.index.removed[self.index.removed < end]
    if not num:
      return [np.zeros(0, np.int64)] * len(query_QE)
    share = end / (end - len(removed))
    wanted, effort = math.ceil((num + _MORE) * share), self.effort
    rows = [np.zeros(0, np.int64)] * len(query_QE)
    left = np.arange(len(query_QE))
    # A search for so many is better made exactly.
    while len(left) and 2 * wanted <= end:
      row_QK, score_QK = self.kind.candidates(query_QE[left], wanted, effort)
      self._check(query_QE[left], row_QK[:, 0], score_QK[:, 0])
      for query, row_K in zip(left, row_QK, strict=True):
        rows[query] = np.setdiff1d(row_K[row_K >= 0], removed)
      left = left[[len(rows[query]) < num for query in left]]
      wanted, effort = 2 * wanted, min(2 * effort, self.kind.most)
    if len(left):
      shards = self.index.shards[: self.num_shards]
      found = exact.search(shards, query_QE[left], num, removed=removed)
      for query, row_K in zip(left, found.row_QK, strict=True):
        rows[query] = row_K
    return rows

  def _check(
    self, query_QE: np.ndarray, row_Q: np.ndarray, score_Q: np.ndarray
  ) -> None:
    """Raise ValueError where the best rows have other scores."""
    found_Q = row_Q >= 0
    is_right = bool((row_Q < self.num_rows).all())
    if is_right:
      best_QE = self.index.embeddings(row_Q[found_Q])
      expected_Q = (best_QE * query_QE[found_Q]).sum(axis=1)
      error_Q = np.abs(expected_Q - score_Q[found_Q])
      is_right = bool((error_Q <= _ROUNDING).all())
    if not is_right:
      raise ValueError(
        f"{self.index.folder / FOLDER} holds other rows than the index;"
        f" {_ADVICE}"
      )


def opened(index: index_folder.Index) -> Approximate | None:
  """Open the approximate index of an index; None if it has none.

  Raises:
    ValueError: its file is missing or torn.
    ModuleNotFoundError: its library is not installed.
  """
  values = index.manifest.approximate
  if values is None:
    return None
  facts = facts_of(values)
  num_shards, num_rows = 0, 0
  while num_rows < facts.num_rows and num_shards < len(index.shards):
    num_rows += len(index.shards[num_shards])
    num_shards += 1
  kind = read(index, facts.method, facts.file, facts.num_bytes)
  if not len(kind) == num_rows == facts.num_rows:
    raise ValueError(
      f"{index.folder / FOLDER / facts.file} must hold {facts.num_rows} rows of"
      f" the index; it has {len(kind)}, and the index's shards {num_rows};"
      f" {_ADVICE}"
    )
  effort = facts.parameters[kind.EFFORT]
  return Approximate(index, kind, effort, num_shards, facts)


def read(
  index: index_folder.Index, method: str, file: str, num_bytes: int
) -> approximate_kinds.Kind:
  """Open a file; raises as `opened` does."""
  path = index.folder / FOLDER / file
  try:
    size = path.stat().st_size
    if size != num_bytes:
      raise ValueError(f"it has {size} bytes, not {num_bytes}")
    return approximate_kinds.KINDS[method].read(path)
  except (OSError, ValueError, RuntimeError) as error:
    raise ValueError(
      f"{path} is not the approximate index that was built: {error}; {_ADVICE}"
    ) from error


def rows_digest(shards: Sequence[np.ndarray]) -> str:
  """Return a digest of embeddings: 16 hexadecimal digits of a SHA-256."""
  digest = hashlib.sha256()
  for shard in shards:
    digest.update(np.ascontiguousarray(shard).data)
  return digest.hexdigest()[:16]


def delete_others(folder: pathlib.Path, kept: str) -> None:
  """Delete files of earlier approximate indices, and of killed processes."""
  for file in (folder / FOLDER).iterdir():
    if file.name != kept:
      file.unlink()


def facts_of(values: Mapping[str, Any]) -> Facts:
  """Return the facts of a manifest; ValueError if they are none."""
  try:
    made = dict(values)
    queries = Queries(**made.pop("queries"))
    recall = tuple(
      Recall(x["k"], x["value"], tuple(x["interval"]))
      for x in made.pop("recall")
    )
    facts = Facts(queries=queries, recall=recall, **made)
    approximate_kinds.KINDS[facts.method]
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{index_folder.MANIFEST} has an approximate index that this version does"
      f" not read ({error}); {_ADVICE}"
    ) from error
  return facts
