"""A family for tests: our own parameters, named and laid out as PyTorch does.

Its config.json has the fields of a ModelConfig, so that it has every model that
there is.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import safetensors.numpy

from models import class_head, dual_encoder, lora
from models.pretrained import forms, loading, mapping, opening, positions
from runtime import sections

IGNORED = (r".*\.position_ids",)


def recognises(found):
  return found.config.get("model_type") == "mirror"


def read_model(found):
  values = found.config["model"]
  kinds = {
    "image": dual_encoder.ImageConfig,
    "text": dual_encoder.TextConfig,
    "lora": lora.LoraConfig,
    "head": class_head.HeadConfig,
  }
  fields = {
    name: value if value is None else _section(kinds.get(name), name, value)
    for name, value in values.items()
  }
  return dual_encoder.ModelConfig(**fields)


def _section(kind, name, value):
  if kind is None:
    return tuple(value) if isinstance(value, list) else value
  # Towers are unions of dataclasses, one of which is selected.
  kind = kind if isinstance(kind, type) else kind | None
  return sections._value(kind, value, f"model.{name}", "configs/base.py")


def write_config(model):
  fields = dataclasses.asdict(model)
  # It has no words for a causal text tower.
  if model.text is not None:
    fields["text"]["causal"] = False
  return {"model_type": "mirror", "model": json.loads(json.dumps(fields))}


def links(model):
  resizes = {
    "img/position": positions.resize_grid(
      int(getattr(model.image, "pool", "") == "cls")
    ),
    "txt/position": positions.resize_length,
  }
  return tuple(
    mapping.link(
      path,
      path.replace("/blocks/", f"/blocks/{mapping.LAYER}/").replace("/", "."),
      forms.DENSE if path.endswith("/kernel") else forms.SAME,
      resize=resizes.get(path),
    )
    for path in sections.flat(loading.shapes_of(model), "/")
    if len(model.towers) == 2 or "/" in path
  )


def random_params(model, seed=0):
  """Return parameters by path; none is 0 or 1, so that none can hide."""
  rng = np.random.default_rng(seed)
  return {
    path: np.asarray(rng.normal(0.0, 0.3, x.shape), np.float32)
    for path, x in sections.flat(loading.shapes_of(model), "/").items()
  }


def write(folder, model, params, **others):
  """Write the folder of a model; `others` are tensors beside its own."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  kept = {p: x for p, x in params.items() if len(model.towers) == 2 or "/" in p}
  tensors = mapping.save(links(model), kept) | others
  (folder / "config.json").write_text(json.dumps(write_config(model)))
  safetensors.numpy.save_file(tensors, folder / "model.safetensors")
  return folder


def write_source(folder, found):
  """Write PublishedFiles as the folder of transformers or open_clip."""
  names = opening.WEIGHTS[2 if "model_cfg" in found.config else 0]
  tensors = {name: np.array(x, order="C") for name, x in found.tensors.items()}
  safetensors.numpy.save_file(tensors, folder / names[0])
  if found.config:
    (folder / names[1]).write_text(json.dumps(found.config))


def embed(model, params, **inputs):
  """Return what the towers make of images_bYXC and tokens_bL."""
  merged = dual_encoder.merge(
    dual_encoder.make_graph(model), mapping.nested(params)
  )
  return jax.jit(lambda m, **kwargs: m(**kwargs))(merged, **inputs)
