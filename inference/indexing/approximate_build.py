"""Building of an approximate index, and its recall on a sample of queries.

The effort (nprobe, ef) is the least at which half of the sample finds enough;
the recall in the manifest is that of the other half, which chose nothing.

Shape letters: Q queries, E the embedding, K results, T texts.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq

from evaluators.metrics import intervals
from inference import python_model
from inference.embeddings import folders
from inference.indexing import (
  approximate,
  approximate_kinds,
  exact,
  given_texts,
  index_folder,
)
from runtime import checks, provenance

# Rows from which a search may gain.
FEWEST_ROWS = 1_000
# Queries of the sample, half to choose the effort by.
NUM_QUERIES, FEWEST_QUERIES = 1_000, 40
# Nearest rows of a recall; the effort is chosen by the first.
_KS = (10, 100)
TARGET_RECALL = 0.98
_SEED = 0
CAPTIONS, ROWS = "captions", "rows"
# Scores closer than this are equal: rounding of float32.
_EQUAL = 1e-6


@dataclasses.dataclass(frozen=True)
class Sample:
  """Queries; `own_Q` are the rows that they are, None for texts."""

  kind: str
  source: str
  query_QE: np.ndarray
  own_Q: np.ndarray | None

  def part(self, which: slice) -> "Sample":
    own_Q = None if self.own_Q is None else self.own_Q[which]
    return dataclasses.replace(self, query_QE=self.query_QE[which], own_Q=own_Q)

  def nearest(
    self, search: Callable[[np.ndarray, int], exact.Found], num: int
  ) -> np.ndarray:
    """Return scores of the results, but for the queries themselves: [Q, K]."""
    if self.own_Q is None:
      return search(self.query_QE, num).score_QK
    found = search(self.query_QE, num + 1)
    is_own_QK = found.row_QK == self.own_Q[:, None]
    # Where a query does not find itself, the last result is one too many.
    is_own_QK[~is_own_QK.any(axis=1), -1] = True
    return found.score_QK[~is_own_QK].reshape(len(found.row_QK), -1)


def check(method: str, target_recall: float | None) -> None:
  """Raise where a flag is wrong, or a package missing, before work begins."""
  checks.one_of("--approximate", method, [*approximate_kinds.KINDS])
  if target_recall is not None:
    checks.between("--target_recall", target_recall, 0.5, 1)
  approximate_kinds.library(approximate_kinds.KINDS[method])


def build(
  index: index_folder.Index,
  *,
  method: str,
  queries: str,
  target_recall: float | None,
  model: Callable[[], python_model.Model],
) -> index_folder.Manifest:
  """Add an approximate index to an index, in place of one that it has.

  Its file is kept where the index has one of the same rows by this method.
  The manifest is written last.

  Args:
    index: index, whose folder is claimed.
    method: key of approximate_kinds.KINDS.
    queries: file or folder of texts, as given_texts.read takes it; "captions",
      "rows", or "" for captions where rows have any.
    target_recall: least share of the 10 nearest rows; None for TARGET_RECALL.
    model: returns the model of the index.

  Raises:
    ValueError: a flag is wrong, or the target is not reached. The index is as
      it was.
  """
  if len(index) < FEWEST_ROWS:
    raise ValueError(
      f"--approximate needs an index of at least {FEWEST_ROWS:,} pictures; got"
      f" {len(index):,}, which an exact search compares at once"
    )
  if target_recall is None:
    target_recall = TARGET_RECALL
  sample = sample_queries(index, queries, model)
  digest = approximate.rows_digest(index.shards)
  kind = approximate_kinds.KINDS[method]
  path = index.folder / approximate.FOLDER / f"{method}_{digest}"
  before = index.manifest.approximate or {}
  is_there = path.name == before.get("file") and path.is_file()
  if not (is_there and path.stat().st_size == before["num_bytes"]):
    path.parent.mkdir(exist_ok=True)
    kind.build(index.shards).write(path)
  num_bytes = path.stat().st_size
  opened = approximate.Approximate(
    index,
    approximate.read(index, method, path.name, num_bytes),
    kind.FIRST,
    len(index.shards),
  )
  half = len(sample.query_QE) // 2
  try:
    opened = _chosen(opened, sample.part(slice(half)), target_recall)
  except ValueError:
    if not is_there:
      path.unlink()
    raise
  facts = approximate.Facts(
    method=method,
    file=path.name,
    num_bytes=num_bytes,
    num_rows=index.manifest.num_rows,
    rows_digest=digest,
    parameters={**opened.kind.parameters(), kind.EFFORT: opened.effort},
    target_recall=target_recall,
    queries=approximate.Queries(
      sample.kind, sample.source, half, len(sample.query_QE) - half, _SEED
    ),
    recall=_measured(opened, sample.part(slice(half, None))),
    versions={kind.PACKAGE: provenance.versions(kind.PACKAGE)[kind.PACKAGE]},
  )
  manifest = dataclasses.replace(
    index.manifest, approximate=dataclasses.asdict(facts)
  )
  manifest.write(index.folder)
  approximate.delete_others(index.folder, path.name)
  return manifest


def about(manifest: index_folder.Manifest) -> list[str]:
  """Return lines about the approximate index of an index, if it has one."""
  if manifest.approximate is None:
    return []
  facts = approximate.facts_of(manifest.approximate)
  lines = [f"{facts.method} ({facts.effort}): {facts.about(*facts.recall)}"]
  if facts.queries.kind == ROWS:
    lines.append(
      "recall was measured with pictures as queries; that of texts may be"
      " lower: --queries=FILE with a text on each line measures it"
    )
  if later := manifest.num_rows - facts.num_rows:
    lines.append(
      f"{later:,} pictures that were added since are compared one by one;"
      f" --approximate={facts.method} takes them in"
    )
  return lines


def sample_queries(
  index: index_folder.Index,
  queries: str,
  model: Callable[[], python_model.Model],
) -> Sample:
  """Return queries in random order, none twice."""
  rng = np.random.default_rng(_SEED)
  kept = np.setdiff1d(np.arange(index.manifest.num_rows), index.removed)
  captions = [] if queries not in ("", CAPTIONS) else _captions(index, kept)
  if queries == CAPTIONS and not captions:
    raise ValueError(
      f"--queries=captions: the index {index.folder} has no captions; give a"
      " file with a text on each line, or --queries=rows"
    )
  if queries == ROWS or (not queries and len(captions) < FEWEST_QUERIES):
    own_Q = rng.choice(kept, min(NUM_QUERIES, len(kept)), replace=False)
    query_QE = index.embeddings(own_Q).astype(np.float32)
    return Sample(ROWS, "", query_QE, own_Q)
  if captions:
    chosen = rng.permutation(len(captions))[:NUM_QUERIES]
    texts = [captions[row] for row in chosen]
    kind, source, query_TE = CAPTIONS, "", model().embed_texts(texts)
  else:
    digest = index.manifest.model["digest"]
    kind, source = "texts", queries
    query_TE = given_texts.read(queries, "queries", digest, model)
    # The same text in both halves would choose and measure.
    query_TE = query_TE[rng.permutation(len(query_TE))[: 4 * NUM_QUERIES]]
    _, first = np.unique(query_TE, axis=0, return_index=True)
    query_TE = query_TE[np.sort(first)[:NUM_QUERIES]]
  if len(query_TE) < FEWEST_QUERIES:
    raise ValueError(
      f"--queries must have at least {FEWEST_QUERIES} different texts, to"
      f" measure the recall on; got {len(query_TE)}"
    )
  return Sample(kind, source, query_TE, None)


def _captions(index: index_folder.Index, kept: np.ndarray) -> list[str]:
  """Return the different captions of rows."""
  texts: list[str | None] = []
  for shard in index.manifest.shards:
    file = shard.paths(index.folder)[1]
    if folders.CAPTION in pq.read_schema(file).names:
      texts += pq.read_table(file, columns=[folders.CAPTION])[
        folders.CAPTION
      ].to_pylist()
    else:
      texts += [None] * shard.num_rows
  words = (str(texts[row] or "").strip() for row in kept)
  return [*dict.fromkeys(word for word in words if word)]


def _chosen(
  opened: approximate.Approximate, sample: Sample, target_recall: float
) -> approximate.Approximate:
  """Return the index with the least effort that reaches the target.

  The mean recall must do so less two of its standard errors.
  """
  k = _KS[0]
  expected_QK = sample.nearest(opened.index.search, k)

  def reached(effort: int) -> float:
    at = dataclasses.replace(opened, effort=effort)
    recall_Q = recalls(expected_QK, sample.nearest(at.search, k), k)
    return recall_Q.mean() - 2 * recall_Q.std() / len(recall_Q) ** 0.5

  low, high = 0, opened.effort
  while (least := reached(high)) < target_recall:
    if high >= opened.kind.most:
      raise ValueError(
        f"--target_recall={target_recall} is not reached: the most effort,"
        f" {opened.kind.EFFORT}={high}, has a recall@{k} of {least:.4f} (less"
        " two standard errors); the index is as it was"
      )
    low, high = high, min(2 * high, opened.kind.most)
  while low and high - low > 1:
    middle = (low + high) // 2
    if reached(middle) < target_recall:
      low = middle
    else:
      high = middle
  return dataclasses.replace(opened, effort=high)


def _measured(
  opened: approximate.Approximate, sample: Sample
) -> tuple[approximate.Recall, ...]:
  """Return the recall for each k."""
  made, expected_QK = [], sample.nearest(opened.index.search, max(_KS))
  for k in _KS:
    recall_Q = recalls(expected_QK, sample.nearest(opened.search, k), k)
    low, high = intervals.clustered(recall_Q).tolist()
    made.append(approximate.Recall(k, float(recall_Q.mean()), (low, high)))
  return tuple(made)


def recalls(
  expected_QK: np.ndarray, found_QK: np.ndarray, k: int
) -> np.ndarray:
  """Return the share of each query's k nearest rows that were found: [Q]."""
  least_Q1 = expected_QK[:, k - 1 : k] - _EQUAL
  return (found_QK[:, :k] >= least_Q1).mean(axis=1)
