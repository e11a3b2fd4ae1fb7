"""Train a model that answers questions about images; resume a begun run."""

from tasks import flags

FLAGS = (flags.CONFIG, flags.WORKDIR, flags.JSON)


def run() -> int:
  """Run --task=vqa."""
  from training.vqa import runs

  folder = flags.workdir()
  config = flags.needed_config(
    lambda config: runs.of(config).check(config, folder)
  )
  return runs.of(config).run(config, folder, as_json=flags.JSON.value)
