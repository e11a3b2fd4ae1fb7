"""LoRA beside full fine-tuning: time of a training step, and its memory.

  python -m benchmarks.lora

Both are `training.train_step` on ViT-B/32 of CLIP (benchmarks.train_step, whose
--rounds and --batch_size hold here too), in float32, with the same pixels and
captions. LoRA's updates of rank --rank are of the maps --maps, and
`optimizer.freeze` holds all else. The two take turns, one step each, forwards
and backwards in alternation; the ratio of times is the median of the rounds'
ratios, that of memory is of bytes: optimizer state, and gradients, which exist
for trained parameters alone. `temporary` is what the compiled step allocates
beside its state (XLA's memory analysis).
"""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks import rounds
from benchmarks import train_step as bench
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import optimizer as optimizer_lib
from training import train_step

_RANK = flags.DEFINE_integer("rank", 8, "Rank of the updates.", lower_bound=1)
_MAPS = flags.DEFINE_string(
  "maps", "(img|txt)/blocks/attn/(query|value)", "Regex of the updated maps."
)
_TOKENS = 77


def make_config(rank: int, maps: str) -> config_lib.Config:
  """Return the config of full fine-tuning, or with a rank that of LoRA."""
  config = dataclasses.asdict(
    bench.make_config("float32", flags.FLAGS.batch_size)
  )
  config["text_lengths"] = ()
  if rank:
    config["model"]["lora"].update(rank=rank, maps=(maps,))
    config["optimizer"]["freeze"] = ((r".*/lora_[ab]", False), (r".*", True))
  checked = config_lib.from_mapping(config)
  checked.check()
  return checked


def num_bytes(tree: Any) -> int:
  """Return the bytes of the arrays of a tree."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def memory(config: config_lib.Config) -> dict[str, int]:
  """Return the bytes of optimizer state, gradients and temporaries."""
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  program = train_step.make(config, mesh)
  params = program.state.params
  frozen = optimizer_lib.frozen_params(config.optimizer, params)
  trained = jax.tree.map(lambda p, fixed: None if fixed else p, params, frozen)
  with jax.set_mesh(mesh):
    analysis = train_step.compile_step(program, mesh).memory_analysis()
  assert analysis is not None  # every compiled program of XLA has one
  return {
    "optimizer": num_bytes(program.state.opt_state),
    "gradients": num_bytes(trained),
    "temporary": analysis.temp_size_in_bytes,
  }


def run() -> dict[str, Any]:
  """Return the figures of LoRA, of full fine-tuning, and their ratios."""
  configs = {
    "full": make_config(0, ""),
    "lora": make_config(_RANK.value, _MAPS.value),
  }
  bytes_of = {name: memory(config) for name, config in configs.items()}
  runners = {}
  for name, config in configs.items():
    ((_, runners[name]),) = bench.make_ours(config, [_TOKENS]).items()
  seconds = rounds.measure(runners, flags.FLAGS.rounds)
  ratios = [
    lora / full
    for lora, full in zip(seconds["lora"], seconds["full"], strict=True)
  ]
  return {
    "step_ratio": statistics.median(ratios),
    **{f"{name}_step_s": statistics.median(x) for name, x in seconds.items()},
    **{
      f"{part}_ratio": bytes_of["lora"][part] / bytes_of["full"][part]
      for part in bytes_of["full"]
    },
    "bytes": bytes_of,
  }


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  print(json.dumps(run()))


if __name__ == "__main__":
  app.run(main)
