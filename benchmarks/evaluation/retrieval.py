"""Speed and memory of hit@1/5/10, beside faiss's exact index.

  python -m benchmarks.evaluate --parts=retrieval --peer_python=PATH

The peer's environment, made once:

  python3 -m venv .venv-faiss
  .venv-faiss/bin/pip install faiss-cpu==1.15.1 numpy

100,000 images and 100,000 texts of 512 dimensions, float32, one right text an
image, which is the first for about half of them. Rows:

- "whole": `ranks_both` of all images and all texts, once, and the highest
  resident memory of the process that made it, embeddings and JAX included; it
  starts no other process.
- "queries": 8,192 images among all texts, by `ranks` and by a search of
  faiss's IndexFlatIP for the first 10, in turn. Seconds are medians, `ratio` is
  the median of the rounds' ratios, above 1 if ours is faster. A search gives
  one direction; `ranks_both` takes as long as `ranks` for both, so its ratio is
  twice that where there are as many texts as images. `cpu_ratio` compares the
  processors' seconds, which other programs on the machine change less.
  `num_different` counts queries whose position in 1 to 10 differs, and
  `num_wrong` those of them without a tie: another candidate within 1e-6.
- "faiss_whole", by `--parts=retrieval_whole`: faiss's search of all images
  among all texts and of all texts among all images, once, after `ranks_both`;
  ratios and comparison as in "queries", over both directions.
"""

import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import app

from benchmarks import memory, rounds
from evaluators import retrieval
from runtime import mesh as mesh_lib

_NUM, _SIZE, _NUM_QUERIES = 100_000, 512, 8192
# Length of the noise beside an image that makes its text; half of the right
# texts are then less similar than the best of 100,000 random ones.
_NOISE = 4.6
_TOP = 10
# Scores within retrieval.TIE, and rounding of either side.
_TIED = 1.3e-6


def make_embeddings() -> tuple[np.ndarray, np.ndarray]:
  """Return zimg and ztxt [100,000, 512], row by row right for each other."""
  rng = np.random.default_rng(0)
  zimg = np.empty((_NUM, _SIZE), np.float32)
  ztxt = np.empty_like(zimg)
  for start in range(0, _NUM, 10_000):
    rows = slice(start, start + 10_000)
    zimg[rows] = _unit(_normal(rng))
    ztxt[rows] = _unit(zimg[rows] + _NOISE / _SIZE**0.5 * _normal(rng))
  return zimg, ztxt


def run(peer_python: str | None, num_rounds: int) -> Iterator[dict[str, Any]]:
  """Yield the rows; without a peer, those of ours."""
  mesh = _mesh()
  zimg, ztxt = make_embeddings()
  labels = np.arange(_NUM)
  (rank, _), seconds, cpu_seconds = _ranked(zimg, ztxt, mesh)
  yield {
    "name": "whole",
    "seconds": seconds,
    "cpu_seconds": cpu_seconds,
    "peak_mib": memory.peak_mib("self"),
    "R@1": retrieval.metrics(rank)["R@1"],
  }
  zimg = zimg[:_NUM_QUERIES]
  cpus: dict[str, list[float]] = {"ours": [], "faiss": []}

  def ours() -> float:
    start, cpu = time.perf_counter(), time.process_time()
    got = retrieval.ranks(
      zimg, ztxt, label_Q=labels[:_NUM_QUERIES], label_M=labels, mesh=mesh
    )
    np.testing.assert_array_equal(got, rank[:_NUM_QUERIES])
    cpus["ours"].append(time.process_time() - cpu)
    return time.perf_counter() - start

  ours()  # compiles
  cpus["ours"].clear()
  with contextlib.ExitStack() as stack:
    runners: dict[str, rounds.Timed] = {"ours": ours}
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if peer_python:
      np.save(folder / "queries.npy", zimg)
      np.save(folder / "candidates.npy", ztxt)
      ask = stack.enter_context(
        rounds.answers(peer_python, "retrieval_faiss.py", f"--folder={folder}")
      )

      def theirs() -> float:
        seconds, cpu = map(float, ask().split())
        cpus["faiss"].append(cpu)
        return seconds

      runners["faiss"] = theirs
    seconds = rounds.measure(runners, num_rounds)
    row: dict[str, Any] = {"name": "queries", "num_queries": _NUM_QUERIES}
    for who in runners:
      row |= {
        f"{who}_s": statistics.median(seconds[who]),
        f"{who}_cpu_s": statistics.median(cpus[who]),
      }
    if peer_python:
      row |= {
        "ratio": _ratio(seconds),
        "cpu_ratio": _ratio(cpus),
        **_compared(
          rank[:_NUM_QUERIES], np.load(folder / "found.npy"), zimg, ztxt
        ),
      }
  yield row


def run_whole(
  peer_python: str | None, num_rounds: int
) -> Iterator[dict[str, Any]]:
  """Yield the row "faiss_whole"; it is measured once, not in rounds."""
  del num_rounds
  if not peer_python:
    raise app.UsageError("--parts=retrieval_whole needs --peer_python")
  zimg, ztxt = make_embeddings()
  ranks, ours_s, ours_cpu_s = _ranked(zimg, ztxt, _mesh())
  row: dict[str, Any] = {
    "name": "faiss_whole",
    **{"ours_s": ours_s, "ours_cpu_s": ours_cpu_s},
    **{"faiss_s": 0.0, "faiss_cpu_s": 0.0},
    **{"num_different": 0, "num_wrong": 0},
  }
  for queries, candidates, rank in zip(
    (zimg, ztxt), (ztxt, zimg), ranks, strict=True
  ):
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      np.save(folder / "queries.npy", queries)
      np.save(folder / "candidates.npy", candidates)
      with rounds.answers(
        peer_python, "retrieval_faiss.py", f"--folder={folder}"
      ) as ask:
        seconds, cpu = map(float, ask().split())
      found = np.load(folder / "found.npy")
    row["faiss_s"] += seconds
    row["faiss_cpu_s"] += cpu
    for name, count in _compared(rank, found, queries, candidates).items():
      row[name] += count
  yield row | {
    "ratio": row["faiss_s"] / row["ours_s"],
    "cpu_ratio": row["faiss_cpu_s"] / row["ours_cpu_s"],
  }


def _mesh() -> jax.sharding.Mesh:
  # The first device: others would share the same processors.
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])


def _ranked(
  zimg: np.ndarray, ztxt: np.ndarray, mesh: jax.sharding.Mesh
) -> tuple[tuple[np.ndarray, np.ndarray], float, float]:
  """Return the ranks of both directions, seconds and processor seconds."""
  labels = np.arange(_NUM)
  start, cpu = time.perf_counter(), time.process_time()
  ranks = retrieval.ranks_both(
    zimg, ztxt, label_N=labels, label_M=labels, mesh=mesh
  )
  return ranks, time.perf_counter() - start, time.process_time() - cpu


def _normal(rng: np.random.Generator) -> np.ndarray:
  return rng.standard_normal((10_000, _SIZE), np.float32)


def _unit(z: np.ndarray) -> np.ndarray:
  return z / np.linalg.norm(z, axis=1, keepdims=True)


def _ratio(seconds: dict[str, list[float]]) -> float:
  return statistics.median(
    b / a for a, b in zip(seconds["ours"], seconds["faiss"], strict=True)
  )


def _compared(
  rank_Q: np.ndarray, top_QK: np.ndarray, zimg: np.ndarray, ztxt: np.ndarray
) -> dict[str, int]:
  """Compare ranks with the rows of faiss's first candidates."""
  is_right_QK = top_QK == np.arange(len(top_QK))[:, None]
  theirs_Q = np.where(
    is_right_QK.any(axis=1), 1 + is_right_QK.argmax(axis=1), _TOP + 1
  )
  (different,) = np.nonzero(np.minimum(rank_Q, _TOP + 1) != theirs_Q)
  num_wrong = 0
  ztxt = ztxt.astype(np.float64)
  for query in different:
    score_M = ztxt @ zimg[query].astype(np.float64)
    gap_M = np.abs(np.delete(score_M, query) - score_M[query])
    num_wrong += not (gap_M < _TIED).any()
  return {"num_different": len(different), "num_wrong": num_wrong}
