"""The linear probe beside scikit-learn's LogisticRegression in float32.

Features are like those before CLIP's projection: vectors of length sqrt(D)
whose covariance has a falling spectrum, around means of classes and one of all.
scikit-learn fits one strength after another, with as many threads of its
matrix products as it is fastest with; compilation, of ours, is excluded, as it
is the same for any features of a shape. Ours runs before, amid and after
scikit-learn's fits, and its median is taken.

Ratios are by the clock and by CPU time. "same" has scikit-learn's condition
(`tol` alone), "settled" is the default (`rtol` as well), "search" is the
paper's about 15 fits, refitted and tested. Accuracies are those of test
examples: `difference` is the largest one between ours and scikit-learn's, at
strengths where both fits meet `tol`, which at high strengths depends on the
path; `error` is the largest difference to scikit-learn in float64, fitted to a
gradient of 1e-6 / max(1, C), at every --probe_exact_stride-th strength.
"""

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import threadpoolctl
from absl import flags
from sklearn import exceptions, linear_model

from evaluators.probes import examples as examples_lib
from evaluators.probes import linear_probe, logistic

_EXAMPLES = flags.DEFINE_integer("probe_examples", 10_000, "Examples to fit.")
_DIM = flags.DEFINE_integer("probe_dim", 512, "Features.")
_CLASSES = flags.DEFINE_integer("probe_classes", 100, "Classes.")
_TOLS = flags.DEFINE_multi_float("probe_tol", [1e-4], "Tolerances.")
_STRIDE = flags.DEFINE_integer(
  "probe_stride", 1, "scikit-learn fits every STRIDE-th strength."
)
_EXACT_STRIDE = flags.DEFINE_integer(
  "probe_exact_stride", 24, "Every n-th strength is fitted in float64."
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
  def ours(rtol: float) -> logistic.Fits:
    return logistic.fit(
      train.x_ND,
      train.label_N,
      num_classes=_CLASSES.value,
      tol=tol,
      rtol=rtol,
    )

  calls: dict[str, Callable[[], object]] = {
    "same": lambda: ours(math.inf),
    "settled": lambda: ours(logistic.RTOL),
    "search": lambda: linear_probe.probe(
      train, test, num_classes=_CLASSES.value, tol=tol
    ),
  }
  times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
  results: dict[str, object] = {}
  # The first strengths compile.
  logistic.fit(
    train.x_ND,
    train.label_N,
    num_classes=_CLASSES.value,
    strengths=logistic.STRENGTHS[:3],
    tol=tol,
  )
  calls["search"]()

  def turn() -> None:
    for name, call in calls.items():
      results[name], taken = timed(call)
      times[name].append(taken)

  turn()
  strengths = logistic.STRENGTHS[:: _STRIDE.value]
  peer, peer_times = [], []
  for i, c in enumerate(strengths):
    if i == len(strengths) // 2:
      turn()
    fit, taken = timed(lambda c=c: _peer(train, c, tol, threads))
    peer.append(fit)
    peer_times.append(taken)
  turn()

  scale = len(logistic.STRENGTHS) / len(strengths)
  row: dict[str, object] = {
    "tol": tol,
    "strengths": len(logistic.STRENGTHS),
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
  search: Any = results["search"]
  row |= {"search_fits": search.num_fits, "search_top_1": search.top_1}
  row |= _agreement(results, peer, train, test)
  return row


def _agreement(results: Any, peer, train, test) -> dict[str, object]:
  all_strengths = logistic.STRENGTHS
  right_S = {
    name: np.mean(
      logistic.predict(results[name], test.x_ND) == test.label_N, axis=1
    )
    for name in ("same", "settled")
  }
  peer_right = {
    c: model.score(test.x_ND, test.label_N)
    for c, (model, has_converged) in zip(
      all_strengths[:: _STRIDE.value], peer, strict=True
    )
    if has_converged
  }
  exact_right = {
    c: _exact(train, c).score(test.x_ND.astype(np.float64), test.label_N)
    for c in all_strengths[:: _EXACT_STRIDE.value]
  }
  row: dict[str, object] = {
    "exact_strengths": len(exact_right),
    "peer_converged": len(peer_right),
    "peer_error": _largest(exact_right, peer_right),
  }
  for name, top_1_S in right_S.items():
    fits = results[name]
    ours = {
      c: float(top_1)
      for c, top_1, meets in zip(
        all_strengths, top_1_S, fits.has_converged_S, strict=True
      )
      if meets
    }
    row |= {
      f"{name}_converged": len(ours),
      f"{name}_evaluations": int(fits.num_evaluations_S.sum()),
      f"{name}_error": _largest(exact_right, ours),
      f"{name}_difference": _largest(peer_right, ours),
    }
  return row


def _largest(first: dict[float, float], second: dict[float, float]) -> float:
  """Return the largest difference at strengths of both."""
  both = first.keys() & second.keys()
  return round(max((abs(first[c] - second[c]) for c in both), default=0), 5)


def _exact(train, strength: float):
  model = linear_model.LogisticRegression(
    C=strength, tol=1e-6 / max(1, strength), max_iter=20_000
  )
  with threadpoolctl.threadpool_limits(1):
    return model.fit(train.x_ND.astype(np.float64), train.label_N)


def _peer(train, strength: float, tol: float, threads: int):
  model = linear_model.LogisticRegression(
    C=strength, tol=tol, max_iter=logistic.MAX_STEPS
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
