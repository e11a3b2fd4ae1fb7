"""`wds_*` folders of photographs, and the peer that reads them too."""

import contextlib
import io
import os
import pathlib
import statistics
import tarfile
from collections.abc import Callable, Iterator, Sequence

from absl import app

from benchmarks import rounds

SCRIPT = "evaluate_clip_benchmark.py"
# Seconds and processor seconds of a contestant's turn.
Times = tuple[float, float]


def write(
  folder: pathlib.Path,
  images: Sequence[bytes],
  num_examples: int,
  classes: Sequence[str],
  *,
  templates: Sequence[str] = ("a photo of a {c}.",),
  num_shards: int = 2,
) -> None:
  """Write examples of JPEGs in turn; the classes' labels are taken in turn."""
  (folder / "test").mkdir(parents=True)
  for name, lines in (
    ("classnames", classes),
    ("zeroshot_classification_templates", templates),
    ("test/nshards", [str(num_shards)]),
  ):
    (folder / f"{name}.txt").write_text("\n".join(lines))
  for shard in range(num_shards):
    start, end = (num_examples * n // num_shards for n in (shard, shard + 1))
    with tarfile.open(folder / "test" / f"{shard}.tar", "w") as tar:
      for index in range(start, end):
        label = str(index * 7 % len(classes)).encode()
        image = images[index % len(images)]
        for suffix, content in (("jpg", image), ("cls", label)):
          member = tarfile.TarInfo(f"s{index:07d}.{suffix}")
          member.size = len(content)
          tar.addfile(member, io.BytesIO(content))


def require(peer_python: str | None, part: str) -> str:
  """Return the peer's interpreter; it writes the model that both read."""
  if not peer_python:
    raise app.UsageError(
      f"--parts={part} needs --peer_python=PATH: the peer writes the model"
    )
  return peer_python


@contextlib.contextmanager
def peer(
  python: str, folder: pathlib.Path, part: str, *flags: str
) -> Iterator[Callable[[], list[str]]]:
  """Start the peer; yield a function that returns the words of an answer."""
  with rounds.answers(
    python, SCRIPT, f"--part={part}", f"--folder={folder}", *flags
  ) as ask:
    yield lambda: ask().split()


def processor_seconds() -> float:
  """Return those of this process and of its children that have ended."""
  return sum(os.times()[:4])


def compared(
  ours: Sequence[Times], theirs: Sequence[Times]
) -> dict[str, float]:
  """Return medians of both, and the medians of the rounds' ratios."""
  row: dict[str, float] = {}
  for who, turns in (("ours", ours), ("peer", theirs)):
    for name, values in zip(
      ("s", "cpu_s"), zip(*turns, strict=True), strict=True
    ):
      row[f"{who}_{name}"] = statistics.median(values)
  for name, k in (("ratio", 0), ("cpu_ratio", 1)):
    row[name] = statistics.median(
      b[k] / a[k] for a, b in zip(ours, theirs, strict=True)
    )
  return row
