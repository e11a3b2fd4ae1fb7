"""Train a model that answers questions about images; resume a begun run."""

import types

from tasks import flags

FLAGS = (flags.CONFIG, flags.WORKDIR, flags.JSON)


def run() -> int:
  """Run --task=vqa."""
  from input_pipeline.questions import question_data
  from training.vqa import pretraining
  from training.vqa import run as run_lib

  runs = types.MappingProxyType(
    {question_data.ANSWERS: run_lib, question_data.AUTOENCODER: pretraining}
  )
  folder = flags.workdir()
  # Another value of vqa.trains is refused by the checks of values.
  config = flags.needed_config(
    lambda config: runs.get(config.vqa.trains, run_lib).check(config, folder)
  )
  return runs[config.vqa.trains].run(config, folder, as_json=flags.JSON.value)
