"""Train a model in which images or videos meet texts; resume a begun run."""

from tasks import flags

FLAGS = (flags.CONFIG, flags.WORKDIR, flags.JSON)


def run() -> int:
  """Run --task=fuse."""
  from training.fused import run as run_lib

  folder = flags.workdir()
  config = flags.needed_config(lambda config: run_lib.check(config, folder))
  return run_lib.run(config, folder, as_json=flags.JSON.value)
