"""Time to the first batch of a run that resumes far into a huge source.

  python -m benchmarks.data_resume
  python -m benchmarks.data_resume --num_workers=2

The source has 10^9 examples by its length and by an index of 40 bytes each,
mapped from a sparse file of 40 GB that takes no space; all pictures are one
JPEG of 500 x 400 pixels. The time is from the config to the first batch of 64
examples of 224 pixels at sample 10^8: opening, checking, ordering, reading the
index, decoding. Peak memory is that of this process, imports of JAX and Grain
included, and that of the largest worker. images/s is the rate of the following
batches, CPU seconds are those of all processes.
"""

import dataclasses
import io
import json
import multiprocessing as mp
import pathlib
import resource
import tempfile
import time
import types
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from benchmarks import memory
from configs import base
from configs.parts import sources
from input_pipeline import sources as formats
from input_pipeline.sources import record

_LENGTH = flags.DEFINE_integer("length", 10**9, "Examples of the source.")
_SAMPLE = flags.DEFINE_integer(
  "sample", 10**8, "Sample that the run resumes from."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Examples in a batch.")
_NUM_WORKERS = flags.DEFINE_integer(
  "num_workers", 0, "Worker processes, data.num_workers."
)
_NUM_THREADS = flags.DEFINE_integer(
  "num_threads", 2, "Threads per process, data.num_threads."
)
_BATCHES = flags.DEFINE_integer("batches", 10, "Batches after the first one.")
_JSON = flags.DEFINE_bool(
  "json", False, "Print a JSON object instead of a line."
)

_INDEX = np.dtype([("offset", "<u8"), ("bytes", "<u8"), ("rest", "V24")])


@dataclasses.dataclass(frozen=True)
class Records:
  """Simulated records, one for each entry of an index."""

  path: pathlib.Path
  image: bytes

  def __len__(self) -> int:
    return self.path.stat().st_size // _INDEX.itemsize

  def __getitem__(self, index: int) -> record.Record:
    entry = np.memmap(self.path, _INDEX, "r")[index]
    key = f"{index:012d}-{int(entry['offset'])}"
    return record.Record(key, self.image, {"en": (f"picture {index}",)})

  def fingerprint(self) -> str:
    return str(len(self))

  def uids(self) -> np.ndarray:
    raise NotImplementedError("this benchmark reads no UIDs")


def make_config(cache_dir: str):
  """Return a `data` section for the simulated source."""
  from training import config as config_lib

  config = base.get_config()
  config.data.sources.main = sources.source(format="simulated")
  config.data.cache_dir = cache_dir
  config.data.image_size = 224
  config.data.tokenizer = "bytes"
  config.data.augmentation.crop_scale = (0.5, 1.0)
  config.data.num_workers = _NUM_WORKERS.value
  config.data.num_threads = _NUM_THREADS.value
  return config_lib.from_mapping(config.to_dict()).data


def make_jpeg() -> bytes:
  """Return a picture of 500 x 400 pixels, smooth with some noise."""
  rng = np.random.default_rng(0)
  small = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
  pixels = np.asarray(small.resize((500, 400), Image.Resampling.BICUBIC))
  noise = rng.integers(-8, 9, pixels.shape)
  buffer = io.BytesIO()
  Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(
    buffer, "JPEG", quality=90
  )
  return buffer.getvalue()


def measure(folder: pathlib.Path) -> dict[str, float]:
  """Return seconds to the first batch, peak memory and images/s after it."""
  # Imported here, since workers import this file and must not import JAX.
  from input_pipeline import loader

  path = folder / "index"
  with open(path, "wb") as file:
    file.truncate(_LENGTH.value * _INDEX.itemsize)
  records = Records(path, make_jpeg())
  simulated: Any = types.SimpleNamespace(
    LANGUAGES=None,
    splits=lambda *_: (),
    open_split=lambda *_: records,
  )
  formats.FORMATS["simulated"] = simulated
  config = make_config(str(folder / "cache"))
  start, start_cpu = time.monotonic(), time.process_time()
  made = loader.make_loader(
    config, folder=None, batch_size=_BATCH_SIZE.value, seed=0
  )
  made.set_state({"next_index": _SAMPLE.value // _BATCH_SIZE.value})
  next(made)
  first, first_cpu = time.monotonic(), time.process_time()
  for _ in range(_BATCHES.value):
    next(made)
  end = time.monotonic()
  peaks = [memory.peak_mib(worker.pid) for worker in mp.active_children()]
  made.close()
  usage = [
    resource.getrusage(who)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  ]
  return {
    "seconds": first - start,
    "own_cpu_seconds": first_cpu - start_cpu,
    "peak_mib": memory.peak_mib("self"),
    "worker_peak_mib": max(peaks, default=0.0),
    "images_per_s": _BATCHES.value * _BATCH_SIZE.value / (end - first),
    "cpu_seconds": sum(x.ru_utime + x.ru_stime for x in usage),
  }


def main(argv: list[str]) -> None:
  del argv
  with tempfile.TemporaryDirectory() as folder:
    values = measure(pathlib.Path(folder))
  if _JSON.value:
    print(json.dumps(values))
    return
  print(
    f"sample {_SAMPLE.value:,} of {_LENGTH.value:,}: first batch of "
    f"{_BATCH_SIZE.value} after {values['seconds']:.2f} s "
    f"({values['own_cpu_seconds']:.2f} s of CPU in this process); peak "
    f"{values['peak_mib']:.0f} MiB, of a worker "
    f"{values['worker_peak_mib']:.0f} MiB; then "
    f"{values['images_per_s']:.0f} images/s"
  )


if __name__ == "__main__":
  app.run(main)
