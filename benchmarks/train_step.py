"""Speed of a training step of ViT-B/32 CLIP on the CPU, beside open_clip's.

  python -m benchmarks.train_step --peer_python=.venv-peer/bin/python

The peer's environment, made once:

  python3 -m venv .venv-peer
  .venv-peer/bin/pip install torch==2.14.1 torchvision==0.29.1 open_clip_torch

Both make the whole step (towers, softmax loss, gradients, AdamW) on random
pixels and ids, at the same precision, on all cores that the process may use,
and wait for the loss. Ours is `training.train_step`, compiled as a run
compiles it; it also converts uint8 pixels to floats and logs metrics. The
peer's pixels are floats already.

Ours has a row for each length of the batch's longest caption, in tokens of the
context's 77 (--caption_tokens): with `text_lengths` the step cuts a batch to
the length of its captions, which changes no embedding. The peer always computes
all 77 positions, so its one row is compared with all of ours.

The contestants take turns, one step each, forwards and backwards in
alternation, so that a machine that slows down slows all. images/s is the rate
of the median step; the ratio is the median of the rounds' ratios, a row's speed
over the peer's, above 1 if ours is faster. `matmul` is a 2048^3 float32 product
in the same rounds, as a measure of the machine's speed at that time.
"""

import contextlib
import functools
import json
import statistics
import time
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import rounds
from configs import base
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import train_state, train_step

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment."
)
_PRECISIONS = flags.DEFINE_list(
  "precisions", ["float32", "bfloat16"], "Precisions to run, in order."
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 7, "Rounds; each contestant makes one step a round.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Pairs a step.")
_CAPTION_TOKENS = flags.DEFINE_list(
  "caption_tokens",
  ["77", "32", "16"],
  "Tokens of the batch's longest caption; one row for each.",
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

_TEXT_LENGTHS = (16, 32, 48)


def make_config(precision: str, batch_size: int) -> config_lib.Config:
  """Return ViT-B/32 of CLIP (arXiv 2103.00020, table 20) with its AdamW."""
  config = base.get_config()
  config.batch_size = batch_size
  config.mesh.data = 1
  config.data.update(image_size=224, num_tokens=77, vocab_size=49_408)
  config.model.update(
    embed_dim=512,
    dtype=precision,
    remat="dense",
    scale_init=1 / 0.07,
    bias_init=0.0,
  )
  tower = {"depth": 12, "activation": "quick_gelu", "norm_epsilon": 1e-5}
  config.model.image.update(
    patch_size=32,
    width=768,
    num_heads=12,
    mlp_width=3072,
    pool="cls",
    pre_norm=True,
    **tower,
  )
  config.model.text.update(
    width=512,
    num_heads=8,
    mlp_width=2048,
    causal=True,
    pool="eot",
    mask_padding=False,
    **tower,
  )
  config.text_lengths = _TEXT_LENGTHS
  config.loss.name = "softmax"
  config.optimizer.update(
    learning_rate=5e-4,
    b1=0.9,
    b2=0.98,
    epsilon=1e-6,
    weight_decay=0.2,
    clip_norm=0.0,
  )
  checked = config_lib.from_mapping(config.to_dict())
  checked.check()
  return checked


def make_ours(
  config: config_lib.Config, caption_tokens: Sequence[int]
) -> dict[str, rounds.Timed]:
  """Compile the project's step, with a state that it updates.

  Returns:
    A timed step for each length of the batch's longest caption, by name.
  """
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  program = train_step.make(config, mesh)
  rng = np.random.default_rng(0)
  tokens = rng.integers(
    1, config.data.vocab_size, (config.batch_size, config.data.num_tokens)
  ).astype(np.int32)
  size = config.data.image_size
  pixels = rng.integers(0, 256, (config.batch_size, size, size, 3))
  with jax.set_mesh(mesh):
    state = train_state.init(
      program.init_params, program.optimizer, program.state, config.seed
    )
    batches = {}
    for length in caption_tokens:
      real = np.arange(config.data.num_tokens) < length
      arrays = {"images": pixels.astype(np.uint8), "tokens": tokens * real}
      batches[length] = mesh_lib.make_global(program.batch_of(arrays), mesh)
    compiled = train_step.compile_step(program, mesh)
    step = train_step.with_numbers(compiled, program, mesh)

  def timed(length: int) -> float:
    nonlocal state
    start = time.perf_counter()
    state, metrics = step(state, batches[length])
    jax.block_until_ready((state, metrics))
    return time.perf_counter() - start

  runners = {}
  for length in caption_tokens:
    timed(length)
    runners[f"diptych, {length} tokens"] = functools.partial(timed, length)
  return runners


def run(precision: str, batch_size: int, num_rounds: int) -> list[dict]:
  """Return a row of the table for each contestant."""
  with contextlib.ExitStack() as stack:
    runners = {
      **make_ours(
        make_config(precision, batch_size),
        [int(length) for length in _CAPTION_TOKENS.value],
      ),
      "matmul": rounds.make_matmul(),
    }
    if _PEER_PYTHON.value:
      runners["open_clip"] = stack.enter_context(
        rounds.peer(
          _PEER_PYTHON.value,
          "train_step_open_clip.py",
          f"--precision={precision}",
          f"--batch_size={batch_size}",
        )
      )
    seconds = rounds.measure(runners, num_rounds)
  gflops = rounds.MATMUL_GFLOP / statistics.median(seconds.pop("matmul"))
  peer_seconds = seconds.get("open_clip")
  return [
    {
      "name": name,
      "precision": precision,
      "images_per_s": batch_size / statistics.median(taken),
      # None if there is no peer.
      "ratio": peer_seconds
      and statistics.median(
        b / a for a, b in zip(taken, peer_seconds, strict=True)
      ),
      "matmul_gflops": gflops,
    }
    for name, taken in seconds.items()
  ]


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  if not _JSON.value:
    print(f"{'name':19} {'precision':9} images/s    ratio  matmul GFLOP/s")
  for precision in _PRECISIONS.value:
    for row in run(precision, _BATCH_SIZE.value, _ROUNDS.value):
      if _JSON.value:
        print(json.dumps(row), flush=True)
      else:
        print(
          f"{row['name']:10} {precision:9} {row['images_per_s']:8.2f}"
          f" {row['ratio']:8.2f} {row['matmul_gflops']:15.0f}",
          flush=True,
        )
  if not _PEER_PYTHON.value and not _JSON.value:
    print(
      "For the ratio to open_clip's step: --peer_python=PATH, the interpreter"
      " of an environment made as the docstring of this file explains."
    )


if __name__ == "__main__":
  app.run(main)
