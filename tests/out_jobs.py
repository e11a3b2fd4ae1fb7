"""Tasks of main.py with --out in a bucket, killed at a request of theirs."""

import dataclasses
import json
import pathlib
import signal
from collections.abc import Mapping

import numpy as np
from PIL import Image

from runtime.storage import bucket_path, whole_files
from tests import runs
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror

_NUM_IMAGES = 8
# Writes a part of embeddings for each batch. Counts requests to the bucket, and
# ends the process when one of them has been answered.
_COUNTED = """
import atexit, itertools, os, signal, sys
from runtime.storage import objects
numbers, call, write = itertools.count(1), objects._call, objects._Stream.write
def counted(fn):
  def calling(*args):
    result = fn(*args)
    if next(numbers) == {kill_at}:
      os.kill(os.getpid(), signal.SIGKILL)
    return result
  return calling
objects._call, objects._Stream.write = counted(call), counted(write)
@atexit.register
def tell():
  print("requests:", next(numbers) - 1, file=sys.stderr)
if "--task=embed" in sys.argv:
  from inference import embedding_parts
  embedding_parts._SAVE_SECONDS = 0.0
"""


@dataclasses.dataclass(frozen=True)
class Job:
  """A task, without --out."""

  name: str
  flags: tuple[str, ...]

  def run(
    self,
    out: pathlib.Path,
    variables: Mapping[str, str] | None = None,
    kill_at: int = 0,
  ) -> runs.Result:
    """Run the task until its end, or the end of a request by its number."""
    return runs.Runner(None, None).run(
      *(None, *self.flags, f"--out={out}"),
      config=None,
      env=dict(variables or {}),
      before=_COUNTED.format(kill_at=kill_at),
    )


def make(folder: pathlib.Path) -> list[Job]:
  """Return jobs whose inputs are written to a folder."""
  lines = []
  for i in range(_NUM_IMAGES):
    image = np.full((8, 8, 3), 30 * i, np.uint8)
    Image.fromarray(image).save(folder / f"{i}.png")
    lines.append(json.dumps({"file_name": f"{i}.png", "text": f"no. {i}"}))
  (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
  (folder / "3.png").write_text("no image")
  (folder / "words").mkdir()
  for name in "ab":
    words = f"a word of {name}\n" * 3
    (folder / "words" / f"{name}.txt").write_text(words)
  clip = folder / "clip"
  clip.mkdir()
  found, _ = goldens.read(goldens.FOLDER / "hf_clip.npz")
  mirror.write_source(clip, found)
  return [
    Job(
      "prepare",
      (
        *("--task=prepare", "--config=configs/quickstart.py"),
        *("--num_workers=0", "--shard_examples=2"),
        "--config.data.max_bad_fraction=0.5",
        "--config.data.sources.main.format=table",
        f"--config.data.sources.main.path={folder}",
        "--config.data.sources.main.split=",
        f"--config.data.cache_dir={folder / 'cache'}",
      ),
    ),
    Job(
      "metadata",
      (
        *("--task=metadata", "--engine=inline"),
        "--config=configs/curate/metadata.py:mini",
        "--config.languages.en.corpus.format=text",
        f"--config.languages.en.corpus.path={folder}/words/?.txt",
        "--config.languages.en.unigrams.source=corpus",
      ),
    ),
    Job(
      "embed",
      (
        *("--task=embed", f"--init_from={clip}", "--batch_size=2"),
        f"--images={folder}/?.png",
      ),
    ),
    Job(
      "export",
      ("--task=export", f"--init_from={clip}", "--format=open_clip"),
    ),
  ]


def contents(out: pathlib.Path) -> dict[str, bytes]:
  """Return {name: bytes} of all files of --out, without its address."""
  return {
    name: (out / name).read_bytes().replace(str(out).encode(), b"OUT")
    for name in whole_files.sizes(out)
  }


def difference(got: Mapping[str, bytes], expected: Mapping[str, bytes]) -> str:
  """Return the name of a file that differs, or ""."""
  names = sorted({*got, *expected})
  return next((x for x in names if got.get(x) != expected.get(x)), "")


def was_killed(result: runs.Result) -> bool:
  return result.code == -signal.SIGKILL


def out_of(root: str, *parts: str) -> pathlib.Path:
  return bucket_path.make("/".join((root, *parts)))
