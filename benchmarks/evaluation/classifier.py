"""Speed of class embeddings from prompts, beside open_clip's builder.

  python -m benchmarks.evaluate --parts=classifier --peer_python=PATH

benchmarks/evaluation/zero_shot.py explains how to make the peer's environment.
1,000 names of classes in 80 templates, ImageNet's of CLIP_benchmark, through a
text tower of 4 layers of 128 with CLIP's vocabulary and random weights, in
float32: `build_zero_shot_classifier` of open_clip with its 10 classes a batch,
and ours from prompts to class embeddings. Both read the texts with their own
tokenizer; nothing is cached.

`ratio` is the median of the rounds' ratios, above 1 if ours is faster, and
`cpu_ratio` that of processor seconds. `difference` is the largest one between
values of the two.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks.evaluation import peer_sets
from evaluators import embedding_cache
from evaluators.figures import outcomes
from evaluators.sets import names
from inference import model as model_lib

_CLASSES = flags.DEFINE_integer("classifier_classes", 1000, "Classes.")
_TEXT = {"width": 128, "heads": 2, "layers": 4}
_BATCH_SIZE = 256


def run(peer_python: str | None, num_rounds: int) -> Iterator[dict[str, Any]]:
  """Yield the row."""
  python = peer_sets.require(peer_python, "classifier")
  classes = names.classes("imagenet1k")[: _CLASSES.value]
  templates = names.templates("imagenet1k")
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "prompts.json").write_text(
      json.dumps({"classes": classes, "templates": templates})
    )
    ask = stack.enter_context(
      peer_sets.peer(
        *(python, folder, "classifier", "--model=ViT-B-32"),
        f"--text={json.dumps(_TEXT)}",
      )
    )
    model = model_lib.load(folder / "model")
    cache = embedding_cache.Cache(
      folder=folder / "cache",
      model="",
      inputs=model.make_inputs(),
      embedder=model.make_embedder(_BATCH_SIZE),
      params=model.params,
      text=model.config.text,
    )
    texts = [t.format(c=name) for name in classes for t in templates]

    def build() -> np.ndarray:
      shutil.rmtree(cache.folder, ignore_errors=True)
      with jax.set_mesh(model.mesh):
        return outcomes.class_embeddings(texts, len(classes), cache.texts)

    build()  # compiles
    ours, theirs = [], []
    figures: dict[str, float] = {"load": os.getloadavg()[0]}

    def our_turn() -> None:
      start, cpu = time.perf_counter(), peer_sets.processor_seconds()
      zclass_AE = build()
      ours.append(
        (time.perf_counter() - start, peer_sets.processor_seconds() - cpu)
      )
      np.save(folder / "ours.npy", zclass_AE)

    def their_turn() -> None:
      seconds, cpu = map(float, ask())
      theirs.append((seconds, cpu))

    turns = [our_turn, their_turn]
    for _ in range(num_rounds):
      for turn in turns:
        turn()
      turns.reverse()
    difference = np.abs(
      np.load(folder / "ours.npy") - np.load(folder / "classifier.npy").T
    ).max()
  yield {
    "name": "classifier",
    "num_prompts": len(texts),
    **peer_sets.compared(ours, theirs),
    "difference": float(difference),
    **figures,
  }
