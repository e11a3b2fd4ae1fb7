"""Training batches from tars of JPEGs, beside open_clip's WebDataset loader.

  python -m benchmarks.data --peer_python=.venv-peer/bin/python

The peer's environment is made as benchmarks/train_step.py says, with
`pip install "open_clip_torch[training]==3.3.0"` in place of open_clip_torch.
Both read the same tars: JPEGs of about 500 x 400 and of about 1600 x 1200
pixels, quality 90, which are made first, from --photos=FOLDER (images, or tars
of them) or from the photographs in the wheel of scikit-image. Both give batches
of 224 pixels square, a random 0.9 to 1 of an image's area (open_clip's default
for training), and tokens of its caption. Ours does it in 2 threads, and in 2
worker processes (data.num_workers); open_clip in 2 worker processes (--workers,
with the pixels normalised to floats, which ours leaves to the device).

The contestants take turns, an epoch each, forwards and backwards in
alternation. images/s is the rate of the median turn, without the batches made
ahead or while workers started; the ratio is the median of the rounds' ratios,
above 1 if ours is faster. CPU ms are the CPU time of all processes for one
image, which depends less on other work of the machine.

Further rows have the difference of pixels from full decoding and Pillow's
bicubic, on average and for the worst image (of 255 levels); the time of each of
our stages for one image, in one thread; and the bytes of the tars' index.

benchmarks/data_resume.py measures a run that resumes far into a huge source.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import app, flags, logging
from PIL import Image

from benchmarks import photos, rounds
from configs import base
from configs.parts import sources
from input_pipeline import clocks, pipeline
from input_pipeline.images import picture
from training import config as config_lib

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment."
)
_PHOTOS = flags.DEFINE_string("photos", "", "Folder of images or tars of them.")
_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Rounds; each contestant has one turn a round.", lower_bound=1
)
_SIZES = flags.DEFINE_list(
  "sizes", ["500x400", "1600x1200"], "Sizes of the JPEGs, WIDTHxHEIGHT."
)
_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 1024, "Images in the tars, read once a turn.", lower_bound=512
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

_BATCH_SIZE = 64
_IMAGE_SIZE = 224
_NUM_WORKERS = 2  # threads or processes, of either side
_NUM_SHARDS = 4
_NUM_COMPARED = 100  # images
_NUM_TIMED = 5  # batches
# Seconds without CPU time after which a contestant counts as idle.
_IDLE_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Turn:
  """Measurements of one turn of a contestant.

  Attributes:
    seconds: duration of its steady state.
    num_timed: images made in that time.
    num_made: images made in the whole turn.
    cpu_seconds: CPU time of all processes in the whole turn; nan if unknown.
  """

  seconds: float
  num_timed: int
  num_made: int
  cpu_seconds: float = float("nan")

  @property
  def rate(self) -> float:
    return self.num_timed / self.seconds

  @property
  def cpu_ms(self) -> float:
    return self.cpu_seconds / self.num_made * 1e3


Contestant = Callable[[], Turn]


def cpu_seconds() -> float:
  """Return the CPU seconds of this process and its living descendants.

  They are read from /proc (proc(5)); the result is nan elsewhere than on Linux.
  """
  todo, seconds = [os.getpid()], 0.0
  while todo:
    process = pathlib.Path(f"/proc/{todo.pop()}")
    try:
      # Split after the name, which may contain spaces; fields 14 and 15 follow.
      fields = (process / "stat").read_text().rpartition(")")[2].split()
      children = [
        path.read_text().split() for path in process.glob("task/*/children")
      ]
    except OSError:
      if not pathlib.Path("/proc/self").exists():
        return float("nan")
      continue  # the process has just ended
    seconds += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    todo += [int(child) for group in children for child in group]
  return seconds


def make_config(
  shards: str, cache: str, num_workers: int
) -> pipeline.DataConfig:
  """Return the section `data`: 2 threads, or `num_workers` of one thread."""
  config = base.get_config()
  data = config.data
  data.sources = {"main": sources.source(format="webdataset", path=shards)}
  data.cache_dir = cache
  data.image_size = _IMAGE_SIZE
  data.augmentation.resize = "area"
  data.augmentation.crop_scale = (0.9, 1.0)
  data.num_workers = num_workers
  data.num_threads = 1 if num_workers else _NUM_WORKERS
  return config_lib.from_mapping(config.to_dict()).data


@contextlib.contextmanager
def ours(config: pipeline.DataConfig) -> Iterator[Contestant]:
  """Yield our pipeline, its workers started."""
  iterator = iter(
    pipeline.make_train_dataset(config, batch_size=_BATCH_SIZE, seed=0)
  )
  # Batches made ahead while the others had their turn, and one in progress in
  # each worker.
  num_ahead = config.num_prefetch_batches + _NUM_WORKERS
  num_batches = _NUM_EXAMPLES.value // _BATCH_SIZE

  def turn() -> Turn:
    for _ in range(num_ahead):
      next(iterator)
    start = time.perf_counter()
    for _ in range(num_batches):
      next(iterator)
    seconds = time.perf_counter() - start
    return Turn(
      seconds,
      num_batches * _BATCH_SIZE,
      (num_ahead + num_batches) * _BATCH_SIZE,
    )

  turn()
  try:
    yield turn
  finally:
    close = getattr(iterator, "close", None)
    if close is not None:
      close()


@contextlib.contextmanager
def open_clip(python: str, shards: str) -> Iterator[Contestant]:
  """Yield open_clip's loader in a process of its own, its workers started."""
  with rounds.answers(
    python,
    "data_open_clip.py",
    f"--shards={shards}",
    f"--num_examples={_NUM_EXAMPLES.value}",
    f"--batch_size={_BATCH_SIZE}",
    f"--num_workers={_NUM_WORKERS}",
    f"--image_size={_IMAGE_SIZE}",
  ) as ask:

    def turn() -> Turn:
      seconds, num_timed, num_made = ask().split()
      return Turn(float(seconds), int(num_timed), int(num_made))

    yield turn


def measure(contestants: dict[str, Contestant]) -> dict[str, list[Turn]]:
  """Return the turns of each contestant, taken alternately."""
  turns: dict[str, list[Turn]] = {name: [] for name in contestants}
  order = list(contestants)
  for _ in range(_ROUNDS.value):
    for name in order:
      before = _idle_cpu_seconds()
      turn = contestants[name]()
      cpu = _idle_cpu_seconds() - before
      turns[name].append(dataclasses.replace(turn, cpu_seconds=cpu))
    order.reverse()
  return turns


def _idle_cpu_seconds() -> float:
  """Return CPU seconds once no process makes batches ahead any more."""
  before, now = float("-inf"), cpu_seconds()
  while now > before:
    time.sleep(_IDLE_SECONDS)
    before, now = now, cpu_seconds()
  return now


def compare_pixels(config: pipeline.DataConfig) -> tuple[float, float]:
  """Return an image's mean difference from full decoding: mean, and largest.

  Both resize the same boxes; differences are in levels of 0 to 255.
  """
  (records,) = pipeline.open_sources(config).values()
  rng = np.random.default_rng(0)
  differences = []
  for index in range(min(_NUM_COMPARED, len(records))):
    data = records[index].image
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = 0.95 * min(image.size)
    left = rng.uniform(0, image.width - side)
    top = rng.uniform(0, image.height - side)
    box = picture.Box(left, top, left + side, top + side)
    shape = (_IMAGE_SIZE, _IMAGE_SIZE)
    full = np.asarray(image.resize(shape, Image.Resampling.BICUBIC, box))
    fast = picture.open_picture(data).resized(box, *shape)
    differences.append(np.abs(fast.astype(np.int16) - full).mean())
  return float(np.mean(differences)), float(np.max(differences))


def time_stages(config: pipeline.DataConfig) -> dict[str, float]:
  """Return milliseconds of each stage for one image, in this thread."""
  config = dataclasses.replace(config, num_workers=0, num_threads=0)
  with tempfile.TemporaryDirectory() as folder:
    iterator = iter(
      pipeline.make_train_dataset(
        config, batch_size=_BATCH_SIZE, seed=1, clocks=clocks.Clocks(folder)
      )
    )
    works = [clocks.pop(next(iterator)) for _ in range(_NUM_TIMED)]
  milliseconds = [
    work.seconds / work.num_examples * 1e3 for work in works if work is not None
  ]
  medians = np.median(milliseconds, axis=0)
  return dict(zip(clocks.STAGES, medians.tolist(), strict=True))


def index_bytes(config: pipeline.DataConfig) -> float:
  """Make the index; return its bytes for one example."""
  num_examples = sum(map(len, pipeline.open_sources(config).values()))
  files = pathlib.Path(config.cache_dir).rglob("*")
  return sum(p.stat().st_size for p in files if p.is_file()) / num_examples


def run(size: str, photographs: list[Image.Image]) -> Iterator[dict]:
  """Yield rows of the table for JPEGs of one size."""
  width, height = map(int, size.split("x"))
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    shards = photos.write(
      pathlib.Path(folder) / "tars",
      photographs,
      size=(width, height),
      num_examples=_NUM_EXAMPLES.value,
      num_shards=_NUM_SHARDS,
    )
    threads, workers = (
      make_config(shards, f"{folder}/cache", num) for num in (0, _NUM_WORKERS)
    )
    index = index_bytes(threads)
    contestants = {
      "2 threads": stack.enter_context(ours(threads)),
      "2 workers": stack.enter_context(ours(workers)),
    }
    if _PEER_PYTHON.value:
      contestants["open_clip"] = stack.enter_context(
        open_clip(_PEER_PYTHON.value, shards)
      )
    turns = measure(contestants)
    mean, worst = compare_pixels(threads)
    stage_ms = time_stages(threads)
  theirs = turns.get("open_clip")
  for name, own in turns.items():
    yield {
      "jpegs": size,
      "who": name,
      "images_per_s": statistics.median(turn.rate for turn in own),
      "cpu_ms": statistics.median(turn.cpu_ms for turn in own),
      # None if there is no peer.
      "ratio": theirs and _ratio(own, theirs, lambda turn: turn.rate),
      "cpu_ratio": theirs and _ratio(theirs, own, lambda turn: turn.cpu_ms),
      "pixels_mean": mean,
      "pixels_worst": worst,
      "stage_ms": stage_ms,
      "index_bytes": index,
    }


def _ratio(
  a: Sequence[Turn], b: Sequence[Turn], of: Callable[[Turn], float]
) -> float:
  return statistics.median(of(x) / of(y) for x, y in zip(a, b, strict=True))


def _line(row: dict) -> str:
  nan = float("nan")
  return (
    f"{row['jpegs']:10} {row['who']:10} {row['images_per_s']:8.0f}"
    f" {row['ratio'] or nan:6.2f} {row['cpu_ms']:7.2f}"
    f" {row['cpu_ratio'] or nan:6.2f}"
  )


def _facts(row: dict) -> str:
  parts = ", ".join(
    f"{stage} {value:.2f}" for stage, value in row["stage_ms"].items()
  )
  return (
    f"{row['jpegs']:10} pixels off by {row['pixels_mean']:.2f} of 255 (worst"
    f" image {row['pixels_worst']:.2f}); ms in one thread: {parts}; index:"
    f" {row['index_bytes']:.0f} bytes an example"
  )


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  photographs = photos.read(_PHOTOS.value)
  if not _JSON.value:
    print("JPEGs      who        images/s  ratio  CPU ms  ratio")
  for size in _SIZES.value:
    for row in (rows := list(run(size, photographs))):
      print(json.dumps(row) if _JSON.value else _line(row), flush=True)
    if not _JSON.value:
      print(_facts(rows[0]), flush=True)


if __name__ == "__main__":
  app.run(main)
