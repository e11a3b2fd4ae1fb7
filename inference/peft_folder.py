"""A run's low-rank updates written as a folder of peft."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from inference import model as model_lib
from inference.exporting import model_card
from models import lora
from models.pretrained import (
  adapters,
  families,
  forms,
  loading,
  mapping,
  opening,
)
from runtime import sections
from runtime.storage import bucket_path, unfinished, whole_files
from training import config as config_lib
from training.run import workdir

# Key of --format.
FORM = "peft"


def write(
  path: str | pathlib.Path, folder: pathlib.Path, license: str = ""
) -> dict[str, str | int]:
  """Write the updates of a run; return facts for a summary.

  Args:
    path: folder of the run.
    folder: folder to write, whole or not at all.
    license: identifier of the weights' licence for the model card.

  Raises:
    ValueError: as `tensors`, or `path` is no run.
  """
  if not workdir.is_run(bucket_path.make(path)):
    raise ValueError(f"--format={FORM} needs the folder of a run; got {path}")
  config, model = model_lib.load_run(bucket_path.make(path))
  written, described = tensors(config, model)
  with unfinished.whole(folder) as temporary:
    with whole_files.new_file(temporary / adapters.WEIGHTS) as file:
      # transformers refuses a file without its metadata.
      safetensors.numpy.save_file(written, file, metadata={"format": "pt"})
    whole_files.write(
      temporary / adapters.CONFIG,
      (json.dumps(described, indent=2) + "\n").encode(),
    )
    model_card.Card(model, FORM, license).write(temporary, folder.name)
  return {
    "model": str(path),
    "base": described["base_model_name_or_path"],
    "out": str(folder),
    "tensors": len(written),
    "modules": len(described["target_modules"]),
    "parameters": sum(x.size for x in written.values()),
  }


def tensors(
  config: config_lib.Config, model: model_lib.Model
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Return the tensors and adapter_config.json of a run's updates.

  Args:
    config: the run's; its `init_from` is the base model.
    model: the run's model.

  Raises:
    ValueError: the run has no update, does not start from a published model of
      transformers, starts from an adapter, or has other parameters that are
      not its base's.
  """
  low_rank = config.model.lora
  if not low_rank.rank:
    raise ValueError(
      "--format=peft needs a run with low-rank updates; got one with"
      " model.lora.rank=0"
    )
  if not config.init_from:
    raise ValueError(
      "--format=peft needs a run that starts from a published model; got one"
      ' with init_from=""'
    )
  files = opening.open_model(config.init_from)
  if files.adapter is not None:
    raise ValueError(
      "--format=peft needs a base model that is no adapter itself; got"
      f" {files.adapter}"
    )
  family = loading.find_family(files)
  if family not in families.EXPORTS["hf"]:
    raise ValueError(
      "--format=peft needs a base model of transformers; got"
      f" {config.init_from}, of {families.name(family)}"
    )
  theirs = loading.read_config(family, files)
  base = sections.flat(loading.read_params(family, theirs, files), "/")
  ours = sections.flat(jax.device_get(model.params), "/")
  for path, value in ours.items():
    if lora.is_update(path):
      continue
    if path not in base or not np.array_equal(base[path], value):
      raise ValueError(
        f"--format=peft writes the updates alone, and {path} is not that of"
        f" {config.init_from}: hold it with optimizer.freeze, or export the"
        " merged model with --format=hf"
      )
  written, modules = {}, set()
  names = {
    link.ours[0].removesuffix("/kernel"): link
    for link in family.links(theirs)
    if len(link.ours) == 1 and link.ours[0].endswith("/kernel")
  }
  for path in ours:
    if not path.endswith("/lora_a"):
      continue
    dense = path.removesuffix("/lora_a")
    link = names.get(dense)
    if link is None or link.form is not forms.DENSE:
      raise ValueError(
        f"--format=peft has no module for the update of {dense}: it is not one"
        " linear map there"
      )
    (name,) = link.theirs
    stacked = mapping.LAYER in name
    for layer in range(len(ours[path]) if stacked else 1):
      module = name.replace(mapping.LAYER, str(layer)).removesuffix(".weight")
      modules.add(module)
      for part, last in (("A", "lora_a"), ("B", "lora_b")):
        value = ours[f"{dense}/{last}"]
        value = value[layer] if stacked else value
        # PyTorch keeps a linear map as [out, in].
        written[f"{adapters.PREFIX}{module}.lora_{part}.weight"] = (
          np.ascontiguousarray(np.asarray(value).T)
        )
  return written, {
    "peft_type": "LORA",
    "task_type": None,
    "base_model_name_or_path": _base_name(config.init_from),
    "r": low_rank.rank,
    "lora_alpha": _whole(low_rank.alpha),
    "lora_dropout": 0.0,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "target_modules": sorted(modules),
  }


def _base_name(path: str) -> str:
  """Return a base model's path as peft writes it, an id without "hf://"."""
  if path.startswith("hf://"):
    return path.removeprefix("hf://")
  return str(pathlib.Path(path.partition("#")[0]).absolute())


def _whole(number: float) -> float | int:
  return int(number) if number == int(number) else number
