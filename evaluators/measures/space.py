"""Calibration of a set's classifier, and the geometry of its embeddings."""

import math
from typing import Any

import numpy as np

from evaluators.figures import outcomes
from evaluators.measures import measure
from evaluators.metrics import calibration as calibration_lib
from evaluators.metrics import classification, intervals, resampling
from evaluators.metrics import geometry as geometry_lib

# Resamples of a bootstrap; each needs a pass over the judged examples.
_NUM_RESAMPLES = 1000


def calibration(context: measure.Context) -> measure.Measured:
  """Compare probabilities with accuracy, before and after one temperature."""
  keys = context.examples.keys
  is_held = calibration_lib.held_part(keys)
  if is_held.all() or not is_held.any():
    raise measure.NotTaken(
      "it needs an example to fit and one to judge; got"
      f" {is_held.sum()} and {(~is_held).sum()}"
    )
  label_N, zclass_AE = context.label_N(), context.classifier()
  zimg_NE = context.examples.zimg_NE
  answers = classification.judge(
    classification.similarities(zimg_NE, zclass_AE), label_N
  )
  score_fn = _Scores(zimg_NE, zclass_AE)
  found = calibration_lib.figures(
    score_fn, answers, keys, temperature=1 / context.scale
  )
  judged = np.flatnonzero(~is_held)
  right_n = answers.right()[judged]
  record: dict[str, Any] = {
    "num_examples": found["num_judged"],
    "num_fitted": found["num_fitted"],
    "temperature_before": 1 / context.scale,
    "temperature_after": found["temperature"],
    "at_bound": found["at_bound"],
    "intervals": {},
    "bins": {},
  }
  for name in ("before", "after"):
    confidence_n, nll_n = calibration_lib.confidences(
      score_fn, label_N, judged, temperature=record[f"temperature_{name}"]
    )
    part: Any = found[name]
    record |= {f"ece_{name}": part["ece"], f"nll_{name}": part["nll"]}
    record["bins"][name] = part["bins"]
    record["intervals"] |= {
      f"ece_{name}": _ece_interval(confidence_n, right_n),
      f"nll_{name}": intervals.clustered(nll_n, is_share=False).tolist(),
    }
  record["protocol"] = {
    "metric_version": outcomes.METRIC_VERSION,
    "probabilities": "softmax over classes of similarity / temperature; before "
    "is the model's own logit scale",
    "ece": f"{calibration_lib.NUM_BINS} bins of equal width (arXiv 1706.04599);"
    " biased upwards for few examples a bin",
    "split": f"{calibration_lib.FIT_SHARE:g} of the examples, by a hash of "
    "their keys, fit the temperature; figures are of the others",
  }
  return measure.Measured(record)


def geometry(context: measure.Context) -> measure.Measured:
  """Return modality gap, alignment, and uniformity of images and texts."""
  zimg_NE = context.examples.zimg_NE
  # Image of each text, by whose resampling that of the text is drawn.
  image_M: np.ndarray | None = None
  if context.opened.kind == "classification":
    ztxt_ME = context.classifier()
    owner_P, text_P = np.arange(len(zimg_NE)), context.label_N()
    texts = "embeddings of the classes, one each"
  else:
    pairs = [
      (row, text)
      for row, by_language in enumerate(context.examples.texts)
      for rows in by_language.values()
      for text in rows
    ]
    distinct = list(dict.fromkeys(text for _, text in pairs))
    number = {text: m for m, text in enumerate(distinct)}
    first = {text: row for row, text in reversed(pairs)}
    ztxt_ME = context.embed_texts(distinct)
    owner_P = np.array([row for row, _ in pairs])
    text_P = np.array([number[text] for _, text in pairs])
    image_M = np.array([first[text] for text in distinct])
    texts = "distinct captions, of all languages"
  gap_P = np.empty(len(owner_P))
  for start in range(0, len(owner_P), 2**14):
    rows = slice(start, start + 2**14)
    gap_PE = zimg_NE[owner_P[rows]].astype(np.float64) - ztxt_ME[text_P[rows]]
    gap_P[rows] = (gap_PE**2).sum(axis=1)
  record: dict[str, Any] = {
    "num_examples": len(zimg_NE),
    "num_texts": len(ztxt_ME),
    "modality_gap": geometry_lib.modality_gap(zimg_NE, ztxt_ME),
    "alignment": float(gap_P.mean()),
    "intervals": {
      "modality_gap": _gap_interval(zimg_NE, ztxt_ME),
      "alignment": intervals.clustered(gap_P, owner_P, is_share=False).tolist(),
    },
    "protocol": {
      "metric_version": outcomes.METRIC_VERSION,
      "texts": texts,
      "modality_gap": "distance of the means (arXiv 2203.02053); its interval "
      "resamples images, the texts fixed",
      "alignment": "mean squared distance of right pairs (arXiv 2005.10242); "
      "its interval resamples images with all their texts",
      "uniformity": "ln of the mean over pairs of exp(-2 |z_i - z_j|^2) (ibid.)"
      "; of one image or text, none. Its interval resamples images with all "
      "their texts, to first order, and is too wide where embeddings are all "
      "but uniform; the texts of classes are all that there are, and have none",
    },
  }
  for name, z_NE, cluster_N in (
    ("images", zimg_NE, None),
    ("texts", ztxt_ME, image_M),
  ):
    if len(z_NE) < 2:
      continue
    value, kernel_N = geometry_lib.uniformity_and_kernels(z_NE)
    record[f"uniformity_{name}"] = value
    if name == "images" or cluster_N is not None:
      bounds = geometry_lib.uniformity_interval(kernel_N, cluster_N)
      record["intervals"][f"uniformity_{name}"] = bounds.tolist()
  return measure.Measured(record)


class _Scores:
  """Similarities of rows to all classes, as `calibration.ScoreFn`."""

  def __init__(self, zimg_NE: np.ndarray, zclass_AE: np.ndarray):
    self._zimg_NE, self._zclass_AE = zimg_NE, zclass_AE

  def __call__(self, rows: np.ndarray) -> np.ndarray:
    return self._zimg_NE[rows] @ self._zclass_AE.T


def _ece_interval(confidence_n: np.ndarray, right_n: np.ndarray) -> list[float]:
  """Bootstrap ECE over examples, moved so that its mean is the figure."""
  edges = np.linspace(0, 1, calibration_lib.NUM_BINS + 1)
  bin_n = np.searchsorted(edges[1:-1], confidence_n, side="left")
  gap_n = right_n - confidence_n
  rng = resampling.generator(confidence_n, right_n)
  replicas = []
  for num in resampling.chunks(_NUM_RESAMPLES, len(gap_n)):
    drawn = rng.integers(len(gap_n), size=(num, len(gap_n)))
    for row in drawn:
      sums = np.bincount(bin_n[row], gap_n[row], len(edges) - 1)
      replicas.append(np.abs(sums).sum() / len(gap_n))
  whole = np.abs(np.bincount(bin_n, gap_n, len(edges) - 1)).sum() / len(gap_n)
  return resampling.moved_percentiles(
    np.array(replicas), whole, len(gap_n) - 1, intervals.LEVEL
  ).tolist()


def _gap_interval(zimg_NE: np.ndarray, ztxt_ME: np.ndarray) -> list[float]:
  """Bound the distance of two means by the spread along it (delta method)."""
  z_NE = zimg_NE.astype(np.float64)
  difference_E = z_NE.mean(axis=0) - ztxt_ME.mean(axis=0, dtype=np.float64)
  gap = float(np.linalg.norm(difference_E))
  if not gap or len(z_NE) < 2:
    return [gap, gap]
  along_N = z_NE @ (difference_E / gap)
  error = float(along_N.std(ddof=1)) / math.sqrt(len(along_N))
  width = error * resampling.student_quantile(intervals.LEVEL, len(z_NE) - 1)
  return [max(0.0, gap - width), gap + width]
