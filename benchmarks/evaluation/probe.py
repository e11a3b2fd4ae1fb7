"""The linear probe beside scikit-learn's LogisticRegression in float32.

Features are like those before CLIP's projection: vectors of length sqrt(D)
whose covariance has a falling spectrum, around means of classes and one of all.
scikit-learn fits one strength after another, with as many threads of its
matrix products as it is fastest with; compilation, of ours, is excluded, as it
is the same for any features of a shape. Ours runs before, amid and after
scikit-learn's fits, and its median is taken.

Ratios are by the clock and by CPU time. "same" has scikit-learn's condition
(`tol` alone), "settled" is the default (`rtol` as well), "search" is the
paper's, refitted and tested. Accuracies are on test examples; `settled` counts
strengths where scikit-learn's fit too meets the default's condition, and
`difference` is the largest one of accuracy there, `difference_tol` the largest
one at all strengths where both fits meet `tol`.
"""

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import jax
import numpy as np
import threadpoolctl
from absl import flags
from sklearn import exceptions, linear_model

from evaluators.probes import examples as examples_lib
from evaluators.probes import linear_probe

_EXAMPLES = flags.DEFINE_integer("probe_examples", 10_000, "Examples to fit.")
_DIM = flags.DEFINE_integer("probe_dim", 512, "Features.")
_CLASSES = flags.DEFINE_integer("probe_classes", 100, "Classes.")
_TOLS = flags.DEFINE_multi_float("probe_tol", [1e-4], "Tolerances.")
_STRIDE = flags.DEFINE_integer(
  "probe_stride", 1, "scikit-learn fits every STRIDE-th strength."
)
_NUM_TEST = 5000


def make_examples(num: int, seed: int = 0) -> examples_lib.Examples:
  """Make labelled features of one set of classes."""
  rng = np.random.default_rng(0)
  dim = _DIM.value
  spectrum_D = np.arange(1, dim + 1) ** -0.5
  axes_DD, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
  mean_AD = rng.normal(size=(_CLASSES.value, dim)) * spectrum_D / 2
  offset_D = rng.normal(size=dim) * 0.2
  rng = np.random.default_rng(1 + seed)
  label_N = rng.integers(0, _CLASSES.value, num)
  x_ND = mean_AD[label_N] + rng.normal(size=(num, dim)) * spectrum_D
  x_ND = x_ND @ axes_DD + offset_D
  x_ND *= math.sqrt(dim) / np.linalg.norm(x_ND, axis=1, keepdims=True)
  uid_N = rng.integers(0, 256, (num, 16), dtype=np.uint8)
  return examples_lib.Examples(x_ND.astype(np.float32), label_N, uid_N)


def run() -> Iterator[dict[str, object]]:
  """Yield a row for each tolerance."""
  jax.config.update("jax_platforms", "cpu")
  train, test = make_examples(_EXAMPLES.value), make_examples(_NUM_TEST, 1)
  threads = _best_threads(train)
  for tol in _TOLS.value:
    yield _row(train, test, tol, threads)


def _row(train, test, tol: float, threads: int) -> dict[str, object]:
  def ours(rtol: float) -> linear_probe.Fits:
    return linear_probe.fit(
      train.x_ND,
      train.label_N,
      num_classes=_CLASSES.value,
      tol=tol,
      rtol=rtol,
    )

  calls: dict[str, Callable[[], object]] = {
    "same": lambda: ours(math.inf),
    "settled": lambda: ours(linear_probe.RTOL),
    "search": lambda: linear_probe.probe(
      train, test, num_classes=_CLASSES.value, tol=tol
    ),
  }
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
  results: dict[str, object] = {}
  # The first strengths compile.
  linear_probe.fit(
    train.x_ND,
    train.label_N,
    num_classes=_CLASSES.value,
    strengths=linear_probe.STRENGTHS[:3],
    tol=tol,
  )
  calls["search"]()

  def turn() -> None:
    for name, call in calls.items():
      results[name], taken = timed(call)
      times[name].append(taken)

  turn()
  strengths = linear_probe.STRENGTHS[:: _STRIDE.value]
  peer, peer_times = [], []
  for i, c in enumerate(strengths):
    if i == len(strengths) // 2:
      turn()
    fit, taken = timed(lambda c=c: _peer(train, c, tol, threads))
    peer.append(fit)
    peer_times.append(taken)
  turn()

  scale = len(linear_probe.STRENGTHS) / len(strengths)
  row: dict[str, object] = {
    "tol": tol,
    "strengths": len(linear_probe.STRENGTHS),
    "peer_strengths": len(strengths),
    "peer_threads": threads,
  }
  for index, clock in enumerate(("", "cpu_")):
    total = scale * sum(taken[index] for taken in peer_times)
    row[f"peer_{clock}s"] = round(total, 2)
    for name, turns in times.items():
      seconds = statistics.median(taken[index] for taken in turns)
      row[f"{name}_{clock}s"] = round(seconds, 2)
      if name != "search":
        row[f"{name}_{clock}ratio"] = round(total / seconds, 2)
  for name in ("same", "settled"):
    row |= _agreement(name, results[name], peer, train, test)
  search = results["search"]
  row["search_fits"] = search.num_fits
  row["search_top_1"] = search.top_1
  return row


def _agreement(name, fits, peer, train, test) -> dict[str, object]:
  is_right_SN = linear_probe.predict(fits, test.x_ND) == test.label_N
  ours_S = is_right_SN.mean(axis=1)[:: _STRIDE.value]
  meets_S = fits.has_converged_S[:: _STRIDE.value]
  within, settled = [], []
  for top_1, meets, (model, has_converged), c in zip(
    ours_S,
    meets_S,
    peer,
    linear_probe.STRENGTHS[:: _STRIDE.value],
    strict=True,
  ):
    if not (meets and has_converged):
      continue
    difference = abs(top_1 - model.score(test.x_ND, test.label_N))
    within.append(difference)
    penalty_AD = model.coef_ / (c * len(train.x_ND))
    residual_NA = model.predict_proba(train.x_ND).astype(np.float64)
    residual_NA[np.arange(len(residual_NA)), train.label_N] -= 1
    gradient_AD = residual_NA.T @ train.x_ND / len(train.x_ND) + penalty_AD
    if (
      np.abs(gradient_AD).max() <= linear_probe.RTOL * np.abs(penalty_AD).max()
    ):
      settled.append(difference)
  return {
    f"{name}_evaluations": int(fits.num_evaluations_S.sum()),
    f"{name}_both_tol": len(within),
    f"{name}_difference_tol": round(max(within, default=0), 5),
    f"{name}_both_settled": len(settled),
    f"{name}_difference": round(max(settled, default=0), 5),
  }


def _peer(train, strength: float, tol: float, threads: int):
  model = linear_model.LogisticRegression(
    C=strength, tol=tol, max_iter=linear_probe.MAX_STEPS
  )
  with (
    warnings.catch_warnings(record=True) as caught,
    threadpoolctl.threadpool_limits(threads),
  ):
    warnings.simplefilter("always")
    model.fit(train.x_ND, train.label_N)
  has_converged = not any(
    issubclass(w.category, exceptions.ConvergenceWarning) for w in caught
  )
  return model, has_converged


def _best_threads(train) -> int:
  """Return the number of threads, 1 or all, that one fit is faster with."""
  counts = {1, max(p["num_threads"] for p in threadpoolctl.threadpool_info())}
  seconds = {
    count: statistics.median(
      timed(lambda count=count: _peer(train, 1e-4, 1e-4, count))[1][0]
      for _ in range(3)
    )
    for count in counts
  }
  return min(seconds, key=seconds.__getitem__)


def timed(call: Callable[[], object]) -> tuple[object, tuple[float, float]]:
  """Return a call's result, and its seconds by the clock and of CPU time."""
  start, cpu = time.perf_counter(), time.process_time()
  result = call()
  return result, (time.perf_counter() - start, time.process_time() - cpu)
