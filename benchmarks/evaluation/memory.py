"""Memory while a set of 50,000 images of 224 pixels is evaluated.

  python -m benchmarks.evaluate --parts=memory

Read whole, the images are 7.5 GB of pixels. They are JPEGs of about 224 x 224
in a `wds_*` folder, cut from the photographs of scikit-image, 250 different
ones, of 100 classes. The model has one tiny layer a tower, so that the program
ends. `evaluate_sets.run` is called in a process of its own: opening and audit,
embedding, figures, and the files written. `more_mib` is the highest resident
memory of that process, compilation included, less what it has when the model
is loaded; `num_children`, the processes that it has started, should be 0.
"""

import contextlib
import io
import json
import multiprocessing
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from absl import flags

from benchmarks import memory, photos
from benchmarks.evaluation import peer_sets
from configs import clip
from inference import export
from inference import model as model_lib
from inference.evaluation import evaluate_sets
from input_pipeline.tokenizers import bpe, hf_files
from models import dual_encoder
from training import config as config_lib

_EXAMPLES = flags.DEFINE_integer("memory_examples", 50_000, "JPEGs.")
_SIZE = 224
_NUM_PICTURES = 250
_CLASSES = tuple(f"thing {number}" for number in range(100))


def run(peer_python: str | None, num_rounds: int) -> Iterator[dict[str, Any]]:
  """Yield the row; there is no peer, and one round."""
  del peer_python, num_rounds
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    rng, sources = np.random.default_rng(0), photos.read("")
    images = [
      photos.picture(sources, (_SIZE, _SIZE), rng) for _ in range(_NUM_PICTURES)
    ]
    peer_sets.write(folder / "wds_photos", images, _EXAMPLES.value, _CLASSES)
    _write_model(folder / "model")
    # A new interpreter, whose memory is its own.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
      row = pool.apply(_evaluate, (folder, os.sched_getaffinity(0)))
  yield {"name": "memory", "num_images": _EXAMPLES.value, **row}


def _evaluate(folder: pathlib.Path, cores: set[int]) -> dict[str, Any]:
  model_lib.load(folder / "model").make_inputs()
  # The peak from now on; Linux.
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  before = memory.peak_mib("self")
  start = time.perf_counter()
  with contextlib.redirect_stdout(io.StringIO()):
    evaluate_sets.run(
      str(folder / "model"),
      suite="",
      names=[str(folder / "wds_photos")],
      data_root="",
      out=str(folder / "out"),
      cache_dir=str(folder / "cache"),
      batch_size=64,
      num_threads=len(cores),
    )
  seconds = time.perf_counter() - start
  results = json.loads((folder / "out" / evaluate_sets.RESULTS).read_text())
  return {
    "num_evaluated": results["photos"]["num_examples"],
    "model_mib": before,
    "more_mib": memory.peak_mib("self") - before,
    "num_children": len(multiprocessing.active_children()),
    "seconds": seconds,
  }


def _write_model(folder: pathlib.Path) -> None:
  """Write a CLIP of random weights as transformers has one."""
  recipe = clip.get_config("mini")
  recipe.data.image_size = _SIZE
  recipe.model.image.image_size = _SIZE
  recipe.model.image.patch_size = 56
  recipe.model.image.depth = recipe.model.text.depth = 1
  full = config_lib.checked(recipe.to_dict())
  config = full.model
  params = dual_encoder.init_params(config, jax.random.key(0))
  written = export.write(config, params, "hf")
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(written.config))
  safetensors.numpy.save_file(
    written.tensors, folder / "model.safetensors", metadata={"format": "pt"}
  )
  made = bpe.make_tokenizer(
    lambda: list(_CLASSES),
    folder / "vocabulary",
    languages=("en",),
    vocab_size=full.data.vocab_size,
    num_tokens=full.data.num_tokens,
  )
  hf_files.write(made, folder)
