"""Memory of a whole curation: match with 500,000 entries, balance, select.

python -m benchmarks.curation_memory
taskset -c 0,1 python -m benchmarks.curation_memory \
  --runs=10_000_000:100,10_000_000:1000,2_500_000:100

Each run is NUMBER_OF_CAPTIONS:NUMBER_OF_SHARDS, and `main.py --task=curate` in
a process of its own with --num_workers others. Captions and entries are those
of benchmarks/curation.py, written to Parquet files in --folder; runs of the
same captions must keep the same pairs for any number of shards. Memory is the
sampled peak of all processes together: `pss`, in which a shared page counts
once, and `rss`, in which it counts in each process.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from absl import app, flags

from benchmarks import curation
from runtime import progress

_RUNS = flags.DEFINE_list(
  "runs",
  ["10_000_000:100", "10_000_000:1000", "2_500_000:100"],
  "Runs, each as NUMBER_OF_CAPTIONS:NUMBER_OF_SHARDS.",
)
_FOLDER = flags.DEFINE_string(
  "folder", None, "Folder to write captions to; by default a temporary one."
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 2, "Worker processes.")
_ENTRIES = flags.DEFINE_integer("entries", 500_000, "Entries in the metadata.")

_ROOT = pathlib.Path(__file__).parent.parent
# Captions made at once, and rows of a row group.
_UNIT = 2_500
# Mean number of words of a caption, as in benchmarks/curation.py.
_NUM_WORDS = 9
# Seconds between two samples of the memory.
_INTERVAL = 0.25
_CONFIG = """
from configs.curate import fields


def get_config():
  config = fields.recipe(
    match={{
      "op": "metaclip_match",
      "metadata": {metadata!r},
      "language": "",
      "other_names": (),
      "mode": "parity",
      "ends": "both",
    }},
    balance={{
      "op": "metaclip_balance",
      "metadata": {metadata!r},
      "t": 0,
      "t_language": "",
      "tail_mass": 0.06,
      "t_rule": "inverse",
      "keep": "drawn",
      "seed": 0,
    }},
  )
  config.pool.format = "parquet"
  config.pool.path = {path!r}
  return config
"""


@dataclasses.dataclass
class Peak:
  """Peak memory of several processes together, in MiB."""

  rss: float = 0.0
  pss: float = 0.0
  num_processes: int = 0
  during: str = ""

  def look(self, process: int, log: pathlib.Path) -> None:
    """Sample the memory of a process and its descendants."""
    rss = pss = 0.0
    numbers = [process]
    for number in numbers:
      try:
        folder = pathlib.Path(f"/proc/{number}")
        children = (folder / f"task/{number}/children").read_text()
        lines = (folder / "smaps_rollup").read_text().splitlines()
      except OSError:  # the process has ended
        continue
      numbers += map(int, children.split())
      sizes = dict(line.split()[:2] for line in lines[1:])
      rss += int(sizes["Rss:"]) / 1024
      pss += int(sizes["Pss:"]) / 1024
    if pss > self.pss:
      self.during = log.read_text().rpartition("\n")[0].rpartition("\n")[2]
    self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)
    self.num_processes = max(self.num_processes, len(numbers))


def captions(unit: int) -> pa.Table:
  """Return _UNIT captions with their UIDs, the same at every call."""
  rng = np.random.default_rng(unit)
  sizes = np.clip(rng.poisson(_NUM_WORDS, _UNIT), 1, 40)
  words = pa.array(curation.words())
  chances = (np.arange(curation.NUM_WORDS) + 2.7) ** -1.0
  chosen = np.searchsorted(
    np.cumsum(chances / chances.sum()), rng.random(sizes.sum())
  )
  chosen = np.minimum(chosen, curation.NUM_WORDS - 1)
  offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
  lists = pa.ListArray.from_arrays(offsets, words.take(pa.array(chosen)))
  texts = pc.call_function("binary_join", [lists, " "])
  uids = rng.bytes(16 * _UNIT).hex().encode()
  hexes = pa.Array.from_buffers(
    pa.binary(32), _UNIT, [None, pa.py_buffer(uids)]
  )
  return pa.table({"uid": hexes.cast(pa.string()), "text": texts})


def write_pool(folder: pathlib.Path, num: int, num_shards: int) -> None:
  """Write `num` captions, split over `num_shards` files."""
  folder.mkdir(parents=True)
  num_units = num // _UNIT
  if num_units % num_shards:
    raise app.UsageError(
      f"--runs: {num} captions in units of {_UNIT} are not {num_shards} equal "
      "shards"
    )
  each = num_units // num_shards
  with progress.Progress("Writing captions", num_shards) as bar:
    for shard in range(num_shards):
      path = folder / f"{shard:05d}.parquet"
      writer = None
      for unit in range(shard * each, (shard + 1) * each):
        table = captions(unit)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
      assert writer is not None
      writer.close()
      bar.advance()


def run(folder: pathlib.Path, metadata: pathlib.Path) -> dict[str, object]:
  """Curate the captions of a folder; return time and memory."""
  config = folder / "config.py"
  path = str(folder / "pool" / "*.parquet")
  config.write_text(_CONFIG.format(metadata=str(metadata), path=path))
  start, peak = time.monotonic(), Peak()
  with open(folder / "log.txt", "w") as log:
    process = subprocess.Popen(
      [
        *(sys.executable, "main.py", "--task=curate", f"--config={config}"),
        *(f"--workdir={folder / 'work'}", "--engine=processes"),
        f"--num_workers={_NUM_WORKERS.value}",
      ],
      cwd=_ROOT,
      env=dict(os.environ) | {"JAX_PLATFORMS": "cpu"},
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    while process.poll() is None:
      peak.look(process.pid, folder / "log.txt")
      time.sleep(_INTERVAL)
  if process.returncode:
    raise RuntimeError((folder / "log.txt").read_text())
  manifest = json.loads((folder / "work/manifest.json").read_text())
  return {
    "pss_mib": round(peak.pss),
    "rss_mib": round(peak.rss),
    "num_processes": peak.num_processes,
    "after_line": peak.during,
    "seconds": round(time.monotonic() - start, 1),
    "num_pairs": manifest["num_pairs"],
    "matched": manifest["steps"][0]["kept"],
    "kept": manifest["num_kept"],
    "kept_sha256": manifest["kept_sha256"],
    "stages": manifest["run"]["stages"],
  }


def main(argv: list[str]) -> None:
  del argv
  pairs = [tuple(map(int, text.split(":"))) for text in _RUNS.value]
  root = pathlib.Path(tempfile.mkdtemp(dir=_FOLDER.value))
  try:
    metadata = root / "entries.txt"
    entries = curation.make_entries(_ENTRIES.value)
    metadata.write_text("".join(f"{entry}\n" for entry in entries))
    digests: dict[int, set[object]] = {}
    for num, num_shards in pairs:
      folder = root / f"{num}-{num_shards}"
      write_pool(folder / "pool", num, num_shards)
      result = run(folder, metadata)
      print(json.dumps({"shards": num_shards, **result}), flush=True)
      digests.setdefault(num, set()).add(result["kept_sha256"])
      shutil.rmtree(folder)
    if any(len(group) > 1 for group in digests.values()):
      raise AssertionError(f"kept pairs depend on the shards: {digests}")
  finally:
    shutil.rmtree(root)


if __name__ == "__main__":
  app.run(main)
