"""Image towers that open_clip makes with timm: by name, or by a description.

open_clip 3.3 passes a name to timm, neither sizes nor an activation (its
timm_model.py). A tower without a name in timm is named "local-dir:FOLDER": timm
reads its architecture and arguments from FOLDER/config.json. A copy is in
open_clip_config.json as "timm_cfg", which open_clip ignores: a model can thus
be read here after its folder was moved.
"""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

# Key in open_clip_config.json, beside "model_cfg".
KEY = "timm_cfg"
# Name of the subfolder with config.json in the folder of a model.
FOLDER = "timm"
_LOCAL = "local-dir:"
# Prefixes of names for which timm reads a description.
_ELSEWHERE = (_LOCAL, "hf-hub:", "hf_hub:")


def describe(architecture: str, **model_args: Any) -> dict[str, Any]:
  """Return the config.json of a tower.

  Args:
    architecture: name of a model in timm.
    model_args: arguments in which the tower differs from it.
  """
  # Without the key "pretrained_cfg", timm reads the whole file as one.
  return {
    "architecture": architecture,
    "pretrained_cfg": {},
    "model_args": model_args,
  }


def name(published: str | None) -> str:
  """Return timm_model_name for a model whose folder is not yet known."""
  return published or f"{_LOCAL}{FOLDER}"


def place(config: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
  """Return open_clip_config.json with the path of the tower's description.

  The path is absolute, since timm resolves a relative one against the current
  folder.
  """
  if KEY not in config:
    return dict(config)
  model_cfg = config["model_cfg"]
  path = {"timm_model_name": f"{_LOCAL}{folder.resolve() / FOLDER}"}
  vision_cfg = model_cfg["vision_cfg"] | path
  return {**config, "model_cfg": model_cfg | {"vision_cfg": vision_cfg}}


def read_args(
  config: Mapping[str, Any], known: Collection[str]
) -> Mapping[str, Any] | None:
  """Return timm's arguments of a described tower, None for a named one.

  Args:
    config: content of open_clip_config.json.
    known: names of the arguments, all of them required.

  Raises:
    ValueError: the description is missing, or has other arguments.
  """
  if KEY not in config:
    model_name = config["model_cfg"]["vision_cfg"].get("timm_model_name") or ""
    if model_name.startswith(_ELSEWHERE):
      raise ValueError(
        "vision_cfg: timm_model_name must be a model of timm, or"
        f" open_clip_config.json have {KEY} (as --task=export writes it); got"
        f" {model_name!r}"
      )
    return None
  args = config[KEY]["model_args"]
  if set(args) != set(known):
    raise ValueError(
      f"{KEY}: model_args must be {', '.join(known)}; got {', '.join(args)}"
    )
  return args
