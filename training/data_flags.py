"""Flags of the tasks that only look at data; imports nothing heavy."""

import pathlib

from absl import app, flags

from training import run_flags

_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 64, "Examples that --task=inspect-data shows."
)


def inspect_data() -> int:
  """Run --task=inspect-data."""
  if _NUM_EXAMPLES.value < 1:
    raise app.UsageError(
      f"--num_examples must be at least 1; got {_NUM_EXAMPLES.value}"
    )
  config, path = run_flags.needed_config(), _page()
  from training import inspect_data

  return inspect_data.run(
    config, path, _NUM_EXAMPLES.value, as_json=run_flags.as_json()
  )


def _page() -> pathlib.Path:
  """Return --out, by default a file in --workdir or the current folder."""
  # A flag of inference_flags.py: of other tasks it is the folder.
  if flags.FLAGS["out"].value:
    return pathlib.Path(flags.FLAGS["out"].value)
  folder = run_flags.workdir() if run_flags.has_workdir() else pathlib.Path()
  return folder / "inspect-data.html"
