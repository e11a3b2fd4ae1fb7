"""Image-text retrieval: hit@k, median and mean rank, MRR, ties at mid-rank.

The rank of a query is that of its best right candidate:

  rank = 1 + (wrong candidates above it) + (wrong candidates tied with it) / 2

and hit@k is the share of queries with rank <= k. Tables of CLIP and of most
papers since call it recall@k, and so "R@k" is its name here. The recall of
information retrieval, the share of a query's right candidates that are among
the first k, is "true_recall@k": at most 0.2 for k = 1 and five captions an
image. `protocol` has these definitions for a record of figures.

A rank can be fractional, and a right candidate tied with one wrong one (rank
1.5) does not count for hit@1: a model whose embeddings are all equal gets rank
(M+1)/2 and no hit, instead of figures that depend on the order of an argsort.

Every figure is a function of the ranks of the queries: `metrics` of `ranks`.

Shape letters beside those of models/layers.py: Q queries, M candidates, K
labels of one of them, P pairs of a query and a right candidate.
"""

import dataclasses
import typing
from collections.abc import Sequence

import jax
import numpy as np

from evaluators import right_pairs, tiles
from evaluators.sets import videos
from input_pipeline import evaluation_split
from input_pipeline.sources import source_config
from runtime import checks

# Cosine similarities closer than this are tied. A float32 dot product of unit
# vectors is off by about 1e-7, and the order of its sums depends on its
# position in a tile: equal vectors would not be equally similar otherwise.
TIE = 1e-6
# Version of the definitions in `protocol`; figures of two versions differ.
METRIC_VERSION = "1"

KS = (1, 5, 10)
TRUE_RECALLS = tuple(f"true_recall@{k}" for k in KS)
METRICS = (
  *(f"R@{k}" for k in KS),
  "median_rank",
  "mean_rank",
  "MRR",
  *TRUE_RECALLS,
)
# Names of re-weightings of the similarities; "" is none.
REWEIGHTS = ("", "dsl")

# Pairs that `right_ranks` gathers the queries of at once.
_PAIRS = 2**16


@dataclasses.dataclass(frozen=True)
class RetrievalConfig:
  """Section of an evaluation set for retrieval in both directions.

  Attributes:
    kind: selects this section's dataclass.
    source: images with captions. Every caption of an image is a query and a
      candidate, and all captions of an image are right for it, as in the
      protocols of COCO and Flickr30k (Karpathy and Fei-Fei, arXiv 1412.2306).
    all_names: whether images are also ranked against the captions of every
      split of the source, in the first of data.languages.
    metrics: figures to report, of METRICS.
    reweight: "dsl" multiplies each similarity by the softmax over all queries
      of the similarities to its candidate (`protocol` has the formula), as the
      tables of Perception Encoder do (Bolya et al., arXiv 2504.13181, B.1.2).
      The other queries of the set then change a query's rank, so figures with
      and without it cannot be compared. "" is none.
    video: views of videos, for a source of videos in place of images.
  """

  kind: typing.Literal["retrieval"]
  source: source_config.SourceConfig
  all_names: bool
  metrics: tuple[str, ...]
  reweight: str = ""
  video: videos.VideoConfig = videos.VideoConfig()

  @property
  def key(self) -> source_config.SourceConfig | videos.Videos:
    """Key of the examples."""
    return videos.key(self.source, self.video)

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    self.video.check(f"{field}.video")
    if self.video.is_on and self.all_names:
      checks.refuse(
        f"{field}.all_names must be False for videos ({field}.video.clips); got"
        " True"
      )
    if not self.metrics:
      checks.refuse(f"{field}.metrics must have at least one item; got ()")
    for metric in self.metrics:
      checks.one_of(f"{field}.metrics", metric, METRICS)
    checks.one_of(f"{field}.reweight", self.reweight, REWEIGHTS)
    if self.reweight and set(self.metrics) & set(TRUE_RECALLS):
      checks.refuse(
        f"{field}.reweight must be '' for {', '.join(TRUE_RECALLS)}; got"
        f" {self.reweight!r}"
      )


def protocol(reweight: str = "") -> dict[str, str]:
  """Return the definitions of the figures, for the record beside them.

  >>> protocol("dsl")["reweight"]
  'dsl: s_qm * exp(s_qm) / mean over queries of exp(s_qm), s the cosine'
  """
  return {
    "metric_version": METRIC_VERSION,
    "similarity": "cosine, float32",
    "R@k": "hit@k: share of queries whose rank is at most k",
    "rank": (
      "of the best right candidate: 1 + wrong ones above it + half of the "
      "wrong ones tied with it"
    ),
    "ties": f"similarities within {TIE:g}, at mid-rank",
    "true_recall@k": (
      "mean over queries of the share of right candidates whose rank among "
      "all candidates is at most k"
    ),
    "reweight": {
      "": "none",
      "dsl": (
        "dsl: s_qm * exp(s_qm) / mean over queries of exp(s_qm), s the cosine"
      ),
    }[reweight],
  }


def labels(
  texts: Sequence[str], owners: Sequence[int], others: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
  """Return labels of images and of texts for `ranks`: equal texts, equal label.

  Args:
    texts: captions of images.
    owners: image of each caption, 0 to N - 1, each at least once.
    others: further candidate texts.

  Returns:
    int [N, K], the labels of each image's captions, the last one repeated; and
    int [len(texts) + len(others)].

  >>> labels(["a", "b", "b"], [0, 0, 1])
  (array([[0, 1],
         [1, 1]]), array([0, 1, 1]))
  """
  _, text_M = np.unique(np.asarray([*texts, *others]), return_inverse=True)
  by_owner: list[list[int]] = [[] for _ in range(max(owners) + 1)]
  for owner, label in zip(owners, text_M.tolist(), strict=False):
    by_owner[owner].append(label)
  most = max(map(len, by_owner))
  filled = [row + row[-1:] * (most - len(row)) for row in by_owner]
  return np.asarray(filled), text_M


def scored(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
  mesh: jax.sharding.Mesh,
  reweight: str = "",
) -> dict[str, float]:
  """Return `metrics` of `ranks`, num_candidates and num_right."""
  rank_Q = ranks(
    zquery_QE,
    zcand_ME,
    label_Q=label_Q,
    label_M=label_M,
    mesh=mesh,
    reweight=reweight,
  )
  return sizes(label_Q, label_M) | metrics(rank_Q)


def metrics(rank_Q: np.ndarray) -> dict[str, float]:
  """Return hit@k for each of KS, the median and mean rank, and the MRR.

  The MRR is the mean of 1 / rank.

  >>> metrics(np.array([1.0, 1.5, 3.5, 7.0]))  # doctest: +NORMALIZE_WHITESPACE
  {'R@1': 0.25, 'R@5': 0.75, 'R@10': 1.0, 'median_rank': 2.5,
   'mean_rank': 3.25, 'MRR': 0.5238095238095237}
  """
  return {
    **{f"R@{k}": float(np.mean(rank_Q <= k)) for k in KS},
    "median_rank": float(np.median(rank_Q)),
    "mean_rank": float(np.mean(rank_Q, dtype=np.float64)),
    "MRR": float(np.mean(1 / rank_Q, dtype=np.float64)),
  }


def true_recalls(rank_P: np.ndarray, query_P: np.ndarray) -> dict[str, float]:
  """Return the mean over queries of true recall@k, of `right_ranks`.

  >>> true_recalls(np.array([1.0, 7.0, 2.0]), np.array([0, 0, 1]))
  {'true_recall@1': 0.25, 'true_recall@5': 0.75, 'true_recall@10': 1.0}
  """
  num_right_Q = np.bincount(query_P)
  return {
    name: float(np.mean(np.bincount(query_P, rank_P <= k) / num_right_Q))
    for name, k in zip(TRUE_RECALLS, KS, strict=True)
  }


def chance(num_candidates: int, num_right: float = 1) -> dict[str, float]:
  """Return the expected `metrics` and `true_recalls` of a random order.

  Args:
    num_candidates: candidates of a query.
    num_right: mean number of them that are right, taken for all queries; the
      median rank is exact for one, and close to it for more.

  >>> chance(50)["R@5"], chance(50)["median_rank"]
  (0.1, 25.5)
  """
  before = np.arange(num_candidates)  # candidates that were passed
  wrong = np.maximum(num_candidates - num_right - before, 0)
  # Probability that the first 0, 1, ... candidates are all wrong.
  missed = np.cumprod([1.0, *(wrong / (num_candidates - before))])
  hits = {
    k: min(1.0, k / num_candidates)
    if num_right == 1
    else float(1 - missed[min(k, num_candidates)])
    for k in KS
  }
  return {
    **{f"R@{k}": hit for k, hit in hits.items()},
    "median_rank": (num_candidates + 1) * (1 - 0.5 ** (1 / num_right)),
    "mean_rank": (num_candidates + 1) / (num_right + 1),
    "MRR": float(np.sum(-np.diff(missed) / (before + 1))),
    **{
      name: min(1.0, k / num_candidates)
      for name, k in zip(TRUE_RECALLS, KS, strict=True)
    },
  }


def ranks(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
  mesh: jax.sharding.Mesh,
  reweight: str = "",
) -> np.ndarray:
  """Rank each query's best right candidate: float64 [Q], 1 is best.

  A candidate is right if one of its labels (integers >= 0) is one of the
  query's; labels are [Q], or [Q, K] for several, and [M] or [M, K] alike.
  Embeddings are float32 and L2-normalised, and every process has all of them;
  the work is split over queries, and the ranks are the same to the bit for any
  number of devices (evaluators/tiles.py).

  Raises:
    ValueError: a query has no right candidate.
  """
  right_pairs.check(label_Q, label_M)
  return _ranks(zquery_QE, zcand_ME, label_Q, label_M, mesh, reweight)[0]


def ranks_both(
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  *,
  label_N: np.ndarray,
  label_M: np.ndarray,
  mesh: jax.sharding.Mesh,
  reweight: str = "",
) -> tuple[np.ndarray, np.ndarray]:
  """Return `ranks` of N images among M texts, and of the texts among images.

  Both come from one matrix product, in half of the time of two calls.

  Raises:
    ValueError: an image or a text has no right partner.
  """
  right_pairs.check(label_N, label_M)
  right_pairs.check(label_M, label_N)
  return _ranks(zimg_NE, ztxt_ME, label_N, label_M, mesh, reweight)


def right_ranks(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
  mesh: jax.sharding.Mesh,
) -> tuple[np.ndarray, np.ndarray]:
  """Rank every right candidate among all candidates, for `true_recalls`.

  Other right candidates count like wrong ones. Each costs as much as a query.

  Returns:
    float64 ranks [P], and the query of each, int [P].
  """
  right_pairs.check(label_Q, label_M)
  query_P, cand_P = right_pairs.pairs(label_Q, label_M)
  rank_P = [
    ranks(
      zquery_QE[query_P[part]],
      zcand_ME,
      label_Q=cand_P[part],
      label_M=np.arange(len(zcand_ME)),
      mesh=mesh,
    )
    for start in range(0, len(query_P), _PAIRS)
    for part in (slice(start, start + _PAIRS),)
  ]
  return np.concatenate(rank_P), query_P


def reference(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
  reweight: str = "",
) -> np.ndarray:
  """Return `ranks`, computed in NumPy with the whole similarity matrix.

  >>> z = np.eye(3, dtype=np.float32)
  >>> reference(z, z[[0, 0, 2]], label_Q=np.arange(3), label_M=np.arange(3))
  array([1.5, 2. , 1. ])
  """
  sim_QM = zquery_QE @ zcand_ME.T
  if reweight:
    weight_QM = np.exp(sim_QM.astype(np.float64))
    sim_QM = sim_QM * weight_QM / weight_QM.mean(axis=0)
  label_Q, label_M = right_pairs.columns(label_Q), right_pairs.columns(label_M)
  right_QM = (label_Q[:, None, :, None] == label_M[None, :, None, :]).any(
    (2, 3)
  )
  best_Q1 = np.where(right_QM, sim_QM, -np.inf).max(axis=1, keepdims=True)
  above_QM = ~right_QM & (sim_QM - best_Q1 > TIE)
  tied_QM = ~right_QM & (np.abs(sim_QM - best_Q1) <= TIE)
  return 1 + above_QM.sum(axis=1) + tied_QM.sum(axis=1) / 2


def _ranks(zquery_QE, zcand_ME, label_Q, label_M, mesh, reweight):
  """Return ranks of the queries, and of the candidates as queries."""
  count_Q, count_M = tiles.counts(
    zquery_QE,
    zcand_ME,
    label_RK=right_pairs.columns(label_Q),
    label_MK=right_pairs.columns(label_M),
    mesh=mesh,
    tie=TIE,
    reweight=reweight == "dsl",
  )
  return 1 + count_Q / 2, 1 + count_M / 2


def sizes(label_Q: np.ndarray, label_M: np.ndarray) -> dict[str, float]:
  """Return num_candidates, and the mean number of right ones of a query."""
  return {
    "num_candidates": len(label_M),
    "num_right": float(np.mean(right_pairs.num_right(label_Q, label_M))),
  }
