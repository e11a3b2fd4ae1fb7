"""Speed of a zero-shot evaluation from a `wds_*` folder, beside CLIP_benchmark.

  python -m benchmarks.evaluate --parts=zero_shot --peer_python=PATH --rounds=3

The peer's environment, made once:

  python3 -m venv .venv-peer
  .venv-peer/bin/pip install torch==2.14.1 torchvision==0.29.1 \
    open_clip_torch==3.3.0 scikit-learn tqdm webdataset requests
  .venv-peer/bin/pip install --no-deps clip-benchmark==1.6.2

The set has JPEGs of 450 to 550 by 338 to 413 pixels, cut from the photographs
of scikit-image, in two tars. Both read it with the same ViT-B/32 of random
weights, in float32; CLIP_benchmark without AMP, with the number of workers of
0, 1 and 2 that is the fastest on a smaller set. The classifier is built before,
programs are compiled and threads started.

- "first": from opening the folder to the figures, ours with its index and the
  audit of labels, and embeddings written to the cache, CLIP_benchmark's without
  figures. `ratio` is the median of the rounds' ratios, above 1 if ours is
  faster; `cpu_ratio` that of processor seconds, which other programs on the
  machine change less.
- "second": the same again, as for another metric: files are opened and digests
  compared, and embeddings are read. `share` is its part of the first time.
"""

import contextlib
import os
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import photos
from benchmarks.evaluation import peer_sets
from evaluators import embedding_cache, suite_data
from evaluators.figures import set_figures
from evaluators.sets import audit, resolve
from inference import model as model_lib
from input_pipeline import evaluation_split

_EXAMPLES = flags.DEFINE_integer("zero_shot_examples", 2000, "JPEGs.")
_BATCH_SIZE = flags.DEFINE_integer("zero_shot_batch_size", 64, "Images.")
_SIZE = 500, 375
_NUM_PICTURES = 250
_NUM_TRIAL = 256
_CLASSES = tuple(f"thing {number}" for number in range(100))
_WHOLE_SET, _TRIAL = "wds_photos", "wds_trial"


class _Ours:
  """Our evaluation of a set with one model and one cache."""

  def __init__(self, folder: pathlib.Path):
    self.folder, self.cache = folder, folder / "cache"
    self.model = model_lib.load(folder / "model")
    self.inputs = self.model.make_inputs()
    self.embeddings = embedding_cache.Cache(
      folder=self.cache / "embeddings",
      model=embedding_cache.model_digest(self.model.config, self.model.params),
      inputs=self.inputs,
      embedder=self.model.make_embedder(_BATCH_SIZE.value),
      params=self.model.params,
      text=self.model.config.text,
    )

  def forget(self) -> None:
    """Delete indices and embeddings of images; the classifier is kept."""
    for path in (*self.cache.iterdir(), *self.embeddings.folder.iterdir()):
      if path.name not in ("embeddings", "texts"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

  def evaluate(self, name: str) -> tuple[peer_sets.Times, dict[str, Any]]:
    """Return the times of an evaluation, and its record."""
    start, cpu = time.perf_counter(), peer_sets.processor_seconds()
    path = str(self.folder / name)
    (opened,) = resolve.resolve(
      "", [path], "", cache_dir=str(self.cache)
    ).values()
    audit.audited(opened, self.cache, name)
    split = evaluation_split.open_source(
      suite_data.source_of(opened),
      protocol=self.inputs.image_protocol,
      num_threads=len(os.sched_getaffinity(0)),
      cache_dir=self.cache,
      name=name,
      section="--sets",
    )
    with jax.set_mesh(self.model.mesh):
      embedded = self.embeddings.images(name, split, opened.source)
      outcome = set_figures.evaluate(
        opened, embedded.examples, self.embeddings.texts, self.model.mesh
      )
    seconds = time.perf_counter() - start
    return (seconds, peer_sets.processor_seconds() - cpu), outcome.record


def run(peer_python: str | None, num_rounds: int) -> Iterator[dict[str, Any]]:
  """Yield the rows."""
  python = peer_sets.require(peer_python, "zero_shot")
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    rng, sources = np.random.default_rng(0), photos.read("")
    images = [photos.picture(sources, _SIZE, rng) for _ in range(_NUM_PICTURES)]
    num_trial = min(_EXAMPLES.value // 2, _NUM_TRIAL)
    for name, count in ((_WHOLE_SET, _EXAMPLES.value), (_TRIAL, num_trial)):
      peer_sets.write(folder / name, images, count, _CLASSES)
    ask = stack.enter_context(
      peer_sets.peer(python, folder, "zero_shot", "--model=ViT-B-32")
    )
    ours = _Ours(folder)
    ours.evaluate(_TRIAL)  # compiles, and makes the classifier
    first, second, theirs = [], [], []
    figures: dict[str, Any] = {"load": os.getloadavg()[0]}

    def our_turn() -> None:
      ours.forget()
      times, record = ours.evaluate(_WHOLE_SET)
      first.append(times)
      times, again = ours.evaluate(_WHOLE_SET)
      second.append(times)
      assert again == record
      figures["top_1"] = record["top_1"]

    def their_turn() -> None:
      seconds, cpu, top_1, num_workers = ask()
      theirs.append((float(seconds), float(cpu)))
      figures["peer_top_1"] = float(top_1)
      figures["peer_workers"] = int(num_workers)

    turns = [our_turn, their_turn]
    for _ in range(num_rounds):
      for turn in turns:
        turn()
      turns.reverse()
  count = {"num_images": _EXAMPLES.value}
  yield {
    "name": "first",
    **count,
    **peer_sets.compared(first, theirs),
  } | figures
  yield {
    "name": "second",
    **count,
    "ours_s": statistics.median(seconds for seconds, _ in second),
    "share": statistics.median(
      b[0] / a[0] for a, b in zip(first, second, strict=True)
    ),
  }
