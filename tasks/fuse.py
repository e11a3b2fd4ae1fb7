"""Train a model in which images or videos meet texts; resume a begun run."""

from tasks import cluster_flags, flags

FLAGS = (flags.CONFIG, flags.WORKDIR, flags.JSON, *cluster_flags.FLAGS)


def run() -> int:
  """Run --task=fuse."""
  return cluster_flags.run_joined(_fuse)


def _fuse() -> int:
  from training.fused import run as run_lib

  folder = flags.workdir()
  config = flags.needed_config(lambda config: run_lib.check(config, folder))
  return run_lib.run(config, folder, as_json=flags.JSON.value)
