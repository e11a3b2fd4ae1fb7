"""Speed of embedding images on the CPU, beside open_clip.

  python -m benchmarks.embed --peer_python=.venv-peer/bin/python

benchmarks/train_step.py explains how to make the peer's environment. Both run
the published towers of CLIP B/32 and SigLIP B/16 with random weights in
float32, on all cores that the process may use, and return L2-normalised
embeddings of one image and of 32. Ours starts from uint8 pixels, the peer from
floats.

The contestants take turns, one batch each, forwards and backwards in
alternation, so that a machine that slows down slows all. images/s is the rate
of the median batch; the ratio is the median of the rounds' ratios, above 1 if
ours is faster. `matmul` is a 2048^3 float32 product in the same rounds, as a
measure of the machine's speed at that time.
"""

import contextlib
import dataclasses
import json
import statistics
import time
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import rounds
from configs import clip, siglip
from models import dual_encoder
from models import stack as stack_lib
from training import config as config_lib

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment."
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 15, "Rounds; each contestant embeds one batch a round.", 1
)
_BATCH_SIZES = flags.DEFINE_list(
  "batch_sizes", ["1", "32"], "Batch sizes, in images."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

# Name -> our variant, and names of the same towers in open_clip.
_MODELS = {
  "CLIP B/32": (clip, "vit_b32", "ViT-B-32-quickgelu"),
  "SigLIP B/16": (siglip, "b16", "ViT-B-16-SigLIP"),
}


def make_ours(name: str, batch_size: int) -> rounds.Timed:
  """Compile the embedding of a batch of one size; return a timed call."""
  module, variant, _ = _MODELS[name]
  config = config_lib.checked(module.get_config(variant).to_dict()).model
  config = dataclasses.replace(
    config, dtype="float32", remat="none", remat_chunks=1, text=None
  )
  params = dual_encoder.init_params(config, jax.random.key(0))
  embed_images, _ = dual_encoder.embed_fns(config)
  params = stack_lib.layers_apart(params)
  assert config.image is not None
  size = config.image.image_size
  images = np.random.default_rng(0).integers(
    0, 256, (batch_size, size, size, 3), np.uint8
  )
  compiled = jax.jit(embed_images).lower(params, images).compile()

  def timed() -> float:
    start = time.perf_counter()
    np.asarray(compiled(params, images))
    return time.perf_counter() - start

  timed()
  return timed


def run(name: str, batch_size: int, num_rounds: int) -> dict:
  """Return a row of the table."""
  with contextlib.ExitStack() as stack:
    runners = {
      "ours": make_ours(name, batch_size),
      "matmul": rounds.make_matmul(),
    }
    if _PEER_PYTHON.value:
      runners["open_clip"] = stack.enter_context(
        rounds.peer(
          _PEER_PYTHON.value,
          "embed_open_clip.py",
          f"--model={_MODELS[name][2]}",
          f"--batch_size={batch_size}",
        )
      )
    seconds = rounds.measure(runners, num_rounds)
  medians = {who: statistics.median(taken) for who, taken in seconds.items()}
  theirs = seconds.get("open_clip")
  return {
    "model": name,
    "batch_size": batch_size,
    "images_per_s": batch_size / medians["ours"],
    # None if there is no peer.
    "open_clip_images_per_s": theirs and batch_size / medians["open_clip"],
    "ratio": theirs
    and statistics.median(
      b / a for a, b in zip(seconds["ours"], theirs, strict=True)
    ),
    "matmul_gflops": rounds.MATMUL_GFLOP / medians["matmul"],
  }


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  if not _JSON.value:
    print("model        batch  images/s  open_clip  ratio  matmul GFLOP/s")
  for name in _MODELS:
    for batch_size in map(int, _BATCH_SIZES.value):
      row = run(name, batch_size, _ROUNDS.value)
      if _JSON.value:
        print(json.dumps(row), flush=True)
      else:
        theirs, ratio = row["open_clip_images_per_s"], row["ratio"]
        print(
          f"{name:12} {batch_size:5} {row['images_per_s']:9.2f}"
          f" {theirs or float('nan'):10.2f} {ratio or float('nan'):6.2f}"
          f" {row['matmul_gflops']:15.0f}",
          flush=True,
        )
  if not _PEER_PYTHON.value and not _JSON.value:
    print(
      "For the ratio to open_clip: --peer_python=PATH, the interpreter of an"
      " environment made as benchmarks/train_step.py explains."
    )


if __name__ == "__main__":
  app.run(main)
