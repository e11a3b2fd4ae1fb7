"""Feed the data pipeline broken and hostile inputs, and count the outcomes.

  python -m tests.long.fuzz_data [--num_inputs=1000] [--first=0]

Input i is the same in every run: `--first=i --num_inputs=1` repeats it. Every
third is a file of pairs (WebDataset, ArrayRecord, Parquet, JSON lines, CSV),
read from its first example to its last; the others are images, decoded and
cropped. An input may yield an example, a fault (faults.ExampleError) or, if it
is a file, an error message for people. These outcomes are bad:

  crash       any other exception, or the end of the process
  hang        more than HANG_SECONDS of processor time
  wrong pair  an image with another one's caption
  other pool  a tar's pairs or faults that curation reads otherwise
"""

import collections
import contextlib
import faulthandler
import json
import pathlib
import re
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

from benchmarks import memory
from input_pipeline import faults, sources
from input_pipeline.images import picture
from input_pipeline.sources import source_config
from runtime import failures, progress
from tests.curation.pools import reading
from tests.long import fuzz_images, fuzz_pairs, fuzz_tables, fuzz_tars

# Seconds of processor time of a hang, ten times those of the slowest input (64
# megapixels), and factor for the clock, on a machine with other work to do.
HANG_SECONDS = 20.0
_MAX_SLOWDOWN = 6

_FILES = ("webdataset", "webdataset", "webdataset", *fuzz_tables.WRITERS)
# Format of a file -> its key of sources.FORMATS.
_KEYS = {"jsonl": "table", "csv": "table"}

_FORMATS = flags.DEFINE_list("formats", list(_FILES), "Formats of the files.")
_NUM_INPUTS = flags.DEFINE_integer("num_inputs", 1000, "Number of inputs.")
_FIRST = flags.DEFINE_integer("first", 0, "Number of the first input.")


class _Hang(BaseException):
  """Exception of the alarm; no code under test may catch it."""


def run(
  number: int, folder: pathlib.Path, formats: Sequence[str] = _FILES
) -> collections.Counter[str]:
  """Return the outcomes of one input; a file is written to `folder`."""
  rng = np.random.default_rng((0, number))
  hostile = list(fuzz_images.hostile().values())
  with _guarded() as outcomes:
    if number < len(hostile):
      outcomes[image(hostile[number], rng)] += 1
    elif number % 3:
      outcomes[image(fuzz_images.corrupted(rng), rng)] += 1
    else:
      name = formats[number // 3 % len(formats)]
      path = write(name, folder, rng)
      outcomes.update(read(name, path, folder / "cache"))
  return outcomes


def image(data: bytes, rng: np.random.Generator) -> str:
  """Decode and crop an image; return "image" or the kind of its fault."""
  try:
    opened = picture.open_picture(data)
    side = min(opened.height, opened.width) * (0.1 + 0.9 * rng.random())
    pixels = opened.resized(picture.Box(0, 0, side, side), 16, 16)
  except faults.ExampleError as error:
    return error.kind
  assert pixels.shape == (16, 16, 3)
  assert pixels.dtype == np.uint8
  return "image"


def write(
  name: str, folder: pathlib.Path, rng: np.random.Generator | None
) -> pathlib.Path:
  """Write a file of pairs, corrupted by `rng`; None writes a whole file."""
  if name == "webdataset":
    path = folder / "pairs.tar"
    path.write_bytes(
      fuzz_tars.whole() if rng is None else fuzz_tars.corrupted(rng)
    )
    return path
  path = fuzz_tables.WRITERS[name](folder)
  if rng is not None:
    fuzz_tables.corrupt(path, rng)
  return path


def read(
  name: str, path: pathlib.Path, cache_dir: pathlib.Path
) -> collections.Counter[str]:
  """Read a whole file of pairs; return the outcomes of its examples."""
  outcomes: collections.Counter[str] = collections.Counter()
  source = source_config.SourceConfig(
    format=_KEYS.get(name, name),
    path=str(path),
    split="",
    image=(),
    caption=(),
    language="en",
    language_field="",
    uid="",
    templates=(),
    weight=0.0,
    repeat=1,
    subset="",
    keep="",
  )
  try:
    records = sources.FORMATS[source.format].open_split(
      source, "", source_config.SourceContext("fuzz", cache_dir, 16)
    )
    records.fingerprint()
    assert len(records.uids()) == len(records)
  except (ValueError, OSError) as error:
    if failures.describe(error) is None:
      raise
    return collections.Counter({"refused": 1})
  for index in range(len(records)):
    try:
      outcomes[fuzz_pairs.outcome(records[index])] += 1
    except faults.ExampleError as error:
      outcomes[error.kind] += 1
  if name == "webdataset":
    opened, shards = reading.open_pool(source, cache_dir)
    rows = reading.rows_of(opened, shards, ("text", "language", "image"))
    same = reading.as_pairs(rows) == reading.expected_of(records)
    if not same:
      outcomes["other pool"] += 1
  return outcomes


@contextlib.contextmanager
def _guarded() -> Iterator[collections.Counter[str]]:
  outcomes: collections.Counter[str] = collections.Counter()

  def give_up(*_: object) -> None:
    raise _Hang

  timers = (
    (signal.ITIMER_PROF, signal.SIGPROF, HANG_SECONDS),
    (signal.ITIMER_REAL, signal.SIGALRM, _MAX_SLOWDOWN * HANG_SECONDS),
  )
  with contextlib.ExitStack() as stack:
    for timer, number, seconds in timers:
      before = signal.signal(number, give_up)
      stack.callback(signal.signal, number, before)
      signal.setitimer(timer, seconds)
      stack.callback(signal.setitimer, timer, 0)
    try:
      yield outcomes
    except _Hang:
      outcomes["hang"] += 1
    except Exception as error:
      outcomes[f"crash: {_where(error)}"] += 1


def _where(error: Exception) -> str:
  """Return our innermost line in an error's trace, and the error."""
  frames = traceback.extract_tb(error.__traceback__)
  ours = [f for f in frames if "input_pipeline" in f.filename] or frames
  line = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}"
  message = re.sub(r"0x[0-9a-f]+|\d+", "N", str(error))[:80]
  return f"{line} {type(error).__name__}: {message}"


def is_bad(outcome: str) -> bool:
  """Return whether no input may have this outcome."""
  return outcome.startswith(("crash", "hang", "wrong pair", "other pool"))


def main(argv: Sequence[str]) -> int:
  del argv
  faulthandler.enable()  # prints a trace if the process itself dies
  warnings.simplefilter("ignore")  # Pillow warns about broken files
  total: collections.Counter[str] = collections.Counter()
  bad, slowest = [], (0.0, -1)
  last = _FIRST.value + _NUM_INPUTS.value
  with progress.Progress("Inputs", _NUM_INPUTS.value) as bar:
    for number in range(_FIRST.value, last):
      start = time.monotonic()
      with tempfile.TemporaryDirectory() as folder:
        outcomes = run(number, pathlib.Path(folder), _FORMATS.value)
      slowest = max(slowest, (time.monotonic() - start, number))
      total.update(outcomes)
      for outcome in filter(is_bad, outcomes):
        bad.append({"input": number, "outcome": outcome})
      bar.advance()
  print(
    json.dumps(
      {
        "num_inputs": _NUM_INPUTS.value,
        "outcomes": dict(total.most_common()),
        "slowest_seconds": round(slowest[0], 2),
        "slowest_input": slowest[1],
        "peak_mib": round(memory.peak_mib("self")),
        "bad": bad[:10],
        "num_bad": len(bad),
      },
      indent=2,
    )
  )
  return int(bool(bad))


if __name__ == "__main__":
  app.run(main)
