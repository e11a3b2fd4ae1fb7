"""Speed and memory of a model in use, beside other libraries.

  python -m benchmarks.inference --peer_python=PATH
  python -m benchmarks.inference --parts=approximate --index=DIR --queries=FILE

A part prints a row of JSON. Contestants take turns; times are medians, `ratio`
is the median of the turns' ratios, above 1 if ours (of "approximate", the
approximate index) is faster.

- "search": one query to its 10 nearest of --rows embeddings of --dim float16
  numbers, in an index that is mapped into memory and warm, beside faiss's
  IndexFlatIP over the same rows as float32 in memory. The model's part, the
  embedding of a text, is in neither. `num_different` are results of faiss that
  ours has not. `more_mib` is the most anonymous resident memory of a process
  that opens the index and searches, less what it had before. The peer's
  environment, made once, where requirements-index.txt is not installed:

    python3 -m venv .venv-faiss
    .venv-faiss/bin/pip install faiss-cpu==1.15.1 numpy

- "approximate": one query to its 10 nearest by the approximate index of an
  index (--index=DIR), and exactly. Without --index, one of --approximate_rows
  made-up embeddings around centres; queries are then such rows, and the ratio
  says how they were made up rather than how fast it is. The recall is
  that of the sample's half that did not choose nprobe, measured anew. An index
  for it, of pictures and a model of one's own, with texts as they will be
  searched for:

    python main.py --task=index --init_from=RUN --images=GLOB --out=DIR \
      --approximate=ivf --queries=FILE
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from absl import app, flags, logging

from benchmarks import rounds
from evaluators.metrics import intervals
from inference import python_model
from inference.indexing import approximate, approximate_build, index_folder

_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of part search.", 1)
_DIM = flags.DEFINE_integer("dim", 512, "Numbers of a made-up embedding.", 1)
_INDEX = flags.DEFINE_string("index", "", "Index of part approximate.")
_QUERIES = flags.DEFINE_string(
  "queries", "", "Queries of part approximate, as --task=index takes them."
)
_APPROXIMATE_ROWS = flags.DEFINE_integer(
  "approximate_rows", 200_000, "Rows of part approximate without --index.", 1000
)
_ROUNDS = flags.DEFINE_integer("rounds", 21, "Turns of each contestant.", 1)
_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment, with faiss."
)

_TOP = 10
# Rows made at once.
_BLOCK = 65_536
# Rows around a centre, and length of the noise beside the centre's of 1.
_CLUSTER, _NOISE = 200, 1.5


def make_rows(num: int) -> Iterator[np.ndarray]:
  """Yield blocks of float16 rows of length 1, around centres."""
  rng = np.random.default_rng(0)
  shape = (max(num // _CLUSTER, 1), _DIM.value)
  centre_CE = rng.standard_normal(shape, np.float32)
  for start in range(0, num, _BLOCK):
    count = min(_BLOCK, num - start)
    z_NE = rng.standard_normal((count, _DIM.value), np.float32)
    z_NE *= _NOISE
    z_NE += centre_CE[rng.integers(0, len(centre_CE), count)]
    z_NE /= np.linalg.norm(z_NE, axis=1, keepdims=True)
    yield z_NE.astype(np.float16)


def make_index(folder: pathlib.Path, num: int) -> None:
  """Write an index of made-up rows."""
  folder.mkdir()
  shards, first = [], 0
  for number, z_NE in enumerate(make_rows(num)):
    paths = [f"{row}.jpg" for row in range(first, first + len(z_NE))]
    table = pa.table({"image_path": paths})
    shards.append(index_folder.write_shard(folder, number, z_NE, table))
    first += len(z_NE)
  index_folder.Manifest(
    model={"path": "", "digest": ""},
    inputs={},
    embed_dim=_DIM.value,
    dtype="float16",
    shards=tuple(shards),
    num_removed=0,
    versions={},
  ).write(folder)


def search() -> Iterator[dict[str, Any]]:
  """Yield the row of part search."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    make_index(folder / "index", _ROWS.value)
    query_QE = _query(folder / "index")
    np.save(folder / "queries.npy", query_QE)
    index = index_folder.read(folder / "index")
    found = index.search(query_QE, _TOP)
    runners = {"ours": _timed(lambda: index.search(query_QE, _TOP))}
    row: dict[str, Any] = {
      "num_rows": len(index),
      "dim": _DIM.value,
      "more_mib": _more_mib(folder),
    }
    if not _PEER_PYTHON.value:
      seconds = rounds.measure(runners, _ROUNDS.value)
      yield row | {"ours_s": statistics.median(seconds["ours"])}
      return
    candidates = np.lib.format.open_memmap(
      folder / "candidates.npy",
      mode="w+",
      dtype=np.float32,
      shape=(len(index), _DIM.value),
    )
    first = 0
    for shard in index.shards:
      candidates[first : first + len(shard)] = shard
      first += len(shard)
    del candidates
    with rounds.answers(
      *(_PEER_PYTHON.value, "retrieval_faiss.py", f"--folder={folder}")
    ) as ask:
      runners["faiss"] = lambda: float(ask().split()[0])
      seconds = rounds.measure(runners, _ROUNDS.value)
    theirs = np.load(folder / "found.npy")
  yield row | {
    "ours_s": statistics.median(seconds["ours"]),
    "faiss_s": statistics.median(seconds["faiss"]),
    "ratio": _ratio(seconds["faiss"], seconds["ours"]),
    "num_different": len(np.setdiff1d(theirs[0], found.row_QK[0])),
  }


def approximately() -> Iterator[dict[str, Any]]:
  """Yield the row of part approximate."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(_INDEX.value or f"{name}/index")
    if not _INDEX.value:
      make_index(folder, _APPROXIMATE_ROWS.value)
      approximate_build.build(
        index_folder.read(folder),
        method="ivf",
        queries="rows",
        target_recall=None,
        model=_no_model,
      )
    index = index_folder.read(folder)
    opened = approximate.opened(index)
    if opened is None or opened.facts is None:
      raise app.UsageError(
        f"--index={folder} has no approximate index; add one by --task=index"
        f" --out={folder} --approximate=ivf"
      )
    model = python_model.Model.load if _INDEX.value else _no_model
    sample = approximate_build.sample_queries(
      index,
      _QUERIES.value
      or opened.facts.queries.source
      or opened.facts.queries.kind,
      lambda: model(str(index.manifest.model["path"])),
    )
    sample = sample.part(slice(len(sample.query_QE) // 2, None))
    recall_Q = approximate_build.recalls(
      sample.nearest(index.search, _TOP),
      sample.nearest(opened.search, _TOP),
      _TOP,
    )
    turns = {"exact": 0, "approximate": 0}

    def runner(who: str, call: Callable[..., Any]) -> rounds.Timed:
      def timed() -> float:
        at = turns[who] % len(sample.query_QE)
        turns[who] += 1
        return _timed(lambda: call(sample.query_QE[at : at + 1], _TOP))()

      return timed

    seconds = rounds.measure(
      {
        "exact": runner("exact", index.search),
        "approximate": runner("approximate", opened.search),
      },
      _ROUNDS.value,
    )
  yield {
    "num_rows": len(index),
    "dim": index.manifest.embed_dim,
    "method": opened.facts.method,
    "parameters": opened.facts.parameters,
    "queries": sample.kind,
    "num_queries": len(recall_Q),
    "recall@10": float(recall_Q.mean()),
    "interval": intervals.clustered(recall_Q).tolist(),
    "exact_s": statistics.median(seconds["exact"]),
    "approximate_s": statistics.median(seconds["approximate"]),
    "ratio": _ratio(seconds["exact"], seconds["approximate"]),
  }


# Name -> function that yields the part's rows.
_PARTS = {"search": search, "approximate": approximately}
_NAMES = flags.DEFINE_list("parts", [*_PARTS], "Parts to run, in order.")


def _query(folder: pathlib.Path) -> np.ndarray:
  """Return a query near a row: float32 [1, E]."""
  z_1E = index_folder.read(folder).shards[0][:1].astype(np.float32)
  noise_1E = np.random.default_rng(1).standard_normal(z_1E.shape, np.float32)
  z_1E = z_1E + noise_1E / _DIM.value**0.5
  return z_1E / np.linalg.norm(z_1E)


def _more_mib(folder: pathlib.Path) -> float:
  """Return what benchmarks/search_memory.py prints."""
  done = subprocess.run(
    [
      *(sys.executable, "-m", "benchmarks.search_memory"),
      *(str(folder / "index"), str(folder / "queries.npy")),
    ],
    stdout=subprocess.PIPE,
    check=True,
    text=True,
  )
  return float(done.stdout)


def _timed(call: Callable[[], object]) -> rounds.Timed:
  def timed() -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

  return timed


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
  return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def _no_model(*args: object) -> python_model.Model:
  raise app.UsageError(
    "made-up embeddings have no model; --queries needs --index"
  )


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  rounds.print_parts(_NAMES.value, _PARTS)


if __name__ == "__main__":
  app.run(main)
