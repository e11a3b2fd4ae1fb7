"""Train a dual encoder, evaluate it and write a report; resume a begun run."""

from tasks import cluster_flags, flags

FLAGS = (flags.CONFIG, flags.WORKDIR, flags.JSON, *cluster_flags.FLAGS)


def run() -> int:
  """Run --task=train."""
  return cluster_flags.run_joined(_train)


def _train() -> int:
  from training import train

  folder = flags.workdir()
  config = flags.needed_config(lambda config: train.check(config, folder))
  return train.run(config, folder, as_json=flags.JSON.value)
