"""Convert a config's sources to ArrayRecord files, in parallel; resumable."""

from absl import flags as absl_flags

from tasks import flags

_SHARD_EXAMPLES = absl_flags.DEFINE_integer(
  "shard_examples", 10_000, "Examples in each ArrayRecord file."
)
_DECODE = absl_flags.DEFINE_bool(
  "decode", False, "Decode all of each image; by default, check its header."
)
FLAGS = (
  flags.CONFIG,
  flags.OUT,
  flags.NUM_WORKERS,
  _SHARD_EXAMPLES,
  _DECODE,
  flags.JSON,
)


def run() -> int:
  """Run --task=prepare."""
  config = flags.needed_config()
  from input_pipeline.preparing import conversion

  return conversion.run(
    config.data,
    flags.out(),
    num_workers=flags.num_workers(),
    shard_examples=_SHARD_EXAMPLES.value,
    decode=_DECODE.value,
    as_json=flags.JSON.value,
  )
