"""Flags of the tasks on data alone; imports nothing heavy."""

import os
import pathlib

from absl import app, flags

from tasks import flags as flags_lib

_NUM_WORKERS = flags.DEFINE_integer(
  "num_workers",
  None,
  "Processes of --task=prepare, curate and metadata; 0 works in this one."
  " Default: one a processor.",
)
_ENGINE = flags.DEFINE_string(
  "engine",
  "processes",
  "Where --task=curate and metadata work: inline, processes or ray.",
)
_SHARD_EXAMPLES = flags.DEFINE_integer(
  "shard_examples", 10_000, "Examples of one file of --task=prepare."
)
_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 64, "Examples that --task=inspect-data shows."
)


def prepare() -> int:
  """Run --task=prepare."""
  config = flags_lib.needed_config()
  from input_pipeline.preparing import conversion

  return conversion.run(
    config.data,
    flags_lib.out(),
    num_workers=_num_workers(),
    shard_examples=_SHARD_EXAMPLES.value,
    as_json=flags_lib.as_json(),
  )


def curate() -> int:
  """Run --task=curate."""
  values, folder = flags_lib.needed_values(), flags_lib.workdir()
  from curation import recipe, runner

  return runner.run(
    recipe.checked(values),
    folder,
    engine=_ENGINE.value,
    num_workers=_num_workers(),
    as_json=flags_lib.as_json(),
  )


def metadata() -> int:
  """Run --task=metadata."""
  values = flags_lib.needed_values()
  from curation.metadata import build, metadata_config

  return build.run(
    metadata_config.checked(values),
    flags_lib.out(),
    engine=_ENGINE.value,
    num_workers=_num_workers(),
    as_json=flags_lib.as_json(),
  )


def inspect_data() -> int:
  """Run --task=inspect-data."""
  if _NUM_EXAMPLES.value < 1:
    raise app.UsageError(
      f"--num_examples must be at least 1; got {_NUM_EXAMPLES.value}"
    )
  config, path = flags_lib.needed_config(), _page()
  from tasks import inspect_data

  return inspect_data.run(
    config, path, _NUM_EXAMPLES.value, as_json=flags_lib.as_json()
  )


def _num_workers() -> int:
  """Return --num_workers, by default one for each processor."""
  workers = _NUM_WORKERS.value
  return len(os.sched_getaffinity(0)) if workers is None else workers


def _page() -> pathlib.Path:
  """Return --out, by default a file in --workdir or the current folder."""
  if flags_lib.out():
    return pathlib.Path(flags_lib.out())
  folder = flags_lib.workdir() if flags_lib.has_workdir() else pathlib.Path()
  return folder / "inspect-data.html"
