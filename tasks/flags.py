"""Flags that name a run: its config and its folder; imports nothing heavy."""

import pathlib
from typing import Any

from absl import app, flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file, as configs/quickstart.py.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_OUT = flags.DEFINE_string(
  "out",
  "",
  "Folder to write, new or empty; for --task=inspect-data, the HTML file.",
)
_JSON = flags.DEFINE_bool("json", False, "Print results as JSON.")


def config() -> Any:
  """Return the checked training.config.Config of --config, None without it."""
  from training import config as config_lib

  value = _CONFIG.value
  return None if value is None else config_lib.checked(value.to_dict())


def needed_values() -> dict[str, Any]:
  """Return the fields of --config, of any kind; UsageError without it."""
  if _CONFIG.value is None:
    raise app.UsageError("--config is missing: --config=configs/NAME.py")
  return _CONFIG.value.to_dict()


def needed_config() -> Any:
  """Return `config`; UsageError where --config is missing."""
  value = config()
  if value is None:
    raise app.UsageError("--config is missing: --config=configs/quickstart.py")
  return value


def workdir() -> pathlib.Path:
  """Return --workdir; UsageError where it is missing."""
  if not _WORKDIR.value:
    raise app.UsageError("--workdir is missing: --workdir=runs/NAME")
  return pathlib.Path(_WORKDIR.value)


def has_workdir() -> bool:
  """Return whether --workdir is given."""
  return bool(_WORKDIR.value)


def as_json() -> bool:
  """Return whether results are printed as JSON."""
  return _JSON.value


def out() -> str:
  """Return --out, "" where it is missing."""
  return _OUT.value
