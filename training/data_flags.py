"""Flags of the tasks on data alone; imports nothing heavy."""

import os

from absl import flags

from training import run_flags

_NUM_WORKERS = flags.DEFINE_integer(
  "num_workers",
  None,
  "Processes of --task=prepare; 0 works in this one. Default: one a processor.",
)
_SHARD_EXAMPLES = flags.DEFINE_integer(
  "shard_examples", 10_000, "Examples of one file of --task=prepare."
)


def prepare() -> int:
  """Run --task=prepare."""
  config = run_flags.needed_config()
  from input_pipeline import conversion

  workers = _NUM_WORKERS.value
  return conversion.run(
    config.data,
    run_flags.out(),
    num_workers=len(os.sched_getaffinity(0)) if workers is None else workers,
    shard_examples=_SHARD_EXAMPLES.value,
    as_json=run_flags.as_json(),
  )
