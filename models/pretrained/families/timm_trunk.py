"""The image towers that open_clip has timm make: by name, or described.

open_clip 3.3 hands timm a name, neither sizes nor an activation (its
timm_model.py). A tower for which timm has no name is named "local-dir:FOLDER":
timm reads its architecture and arguments from FOLDER/config.json. The same lies
in open_clip_config.json as "timm_cfg", which open_clip does not look at: so a
model can be read here wherever its folder went.
"""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

# Of open_clip_config.json, beside "model_cfg".
KEY = "timm_cfg"
# In the folder of a model.
FOLDER = "timm"
_LOCAL = "local-dir:"
# Names by which timm reads a description.
_ELSEWHERE = (_LOCAL, "hf-hub:", "hf_hub:")


def describe(architecture: str, **model_args: Any) -> dict[str, Any]:
  """Return the config.json of a tower.

  Args:
    architecture: a model of timm.
    model_args: what is otherwise in this one.
  """
  # Without "pretrained_cfg", timm takes the whole file for one.
  return {
    "architecture": architecture,
    "pretrained_cfg": {},
    "model_args": model_args,
  }


def name(published: str | None) -> str:
  """Return timm_model_name, where the folder of the model is not yet known."""
  return published or f"{_LOCAL}{FOLDER}"


def place(config: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
  """Return open_clip_config.json with the place of the tower's description.

  timm takes a path as it is given, so only an absolute one is found from
  everywhere.
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
  """Return timm's arguments of a tower that is described, None of a named one.

  Args:
    config: open_clip_config.json.
    known: the arguments, all of which must be there.

  Raises:
    ValueError: the description is missing, or has other arguments.
  """
  if KEY not in config:
    place = config["model_cfg"]["vision_cfg"].get("timm_model_name") or ""
    if place.startswith(_ELSEWHERE):
      raise ValueError(
        "vision_cfg: timm_model_name must be a model of timm, or"
        f" open_clip_config.json have {KEY} (as --task=export writes it); got"
        f" {place!r}"
      )
    return None
  args = config[KEY]["model_args"]
  if set(args) != set(known):
    raise ValueError(
      f"{KEY}: model_args must be {', '.join(known)}; got {', '.join(args)}"
    )
  return args
