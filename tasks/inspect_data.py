"""Write an HTML page of the first examples as the first steps get them."""

import pathlib

from absl import app
from absl import flags as absl_flags

from tasks import flags

_NUM_EXAMPLES = absl_flags.DEFINE_integer(
  "num_examples", 64, "Examples shown on the page."
)
_PHASE = absl_flags.DEFINE_string(
  "phase",
  "",
  "Name of the phase in config.phases whose data are shown; the first one by"
  " default.",
)
FLAGS = (
  *(flags.CONFIG, flags.OUT, flags.WORKDIR, _NUM_EXAMPLES, _PHASE),
  flags.JSON,
)


def run() -> int:
  """Run --task=inspect-data."""
  if _NUM_EXAMPLES.value < 1:
    raise app.UsageError(
      f"--num_examples must be at least 1; got {_NUM_EXAMPLES.value}"
    )
  config = flags.needed_config()
  from input_pipeline import ledger
  from input_pipeline.inspecting import inspection_page
  from training import config as config_lib

  stages = {stage.name: stage for stage in config_lib.stages(config)}
  if _PHASE.value and _PHASE.value not in stages:
    raise app.UsageError(
      "--phase must be one of config.phases,"
      f" {', '.join(filter(None, stages)) or 'which are none'}; got"
      f" {_PHASE.value!r}"
    )
  stage = stages[_PHASE.value or next(iter(stages))]
  config = stage.config
  return inspection_page.write(
    _page(),
    config.data,
    batch_size=config.num_rows_read,
    seed=config.seed,
    num_examples=_NUM_EXAMPLES.value,
    as_json=flags.JSON.value,
    share=config.evaluate.holdout,
    phase=ledger.Phase(stage.name, stage.first_step, stage.first_batch),
    fusion=config.fusion if config.fusion.kind else None,
  )


def _page() -> pathlib.Path:
  """Return --out, by default a file in --workdir or the current folder."""
  if flags.OUT.value:
    from runtime.storage import bucket_path

    return bucket_path.make(flags.out())
  folder = flags.workdir() if flags.WORKDIR.value else pathlib.Path()
  return folder / "inspect-data.html"
