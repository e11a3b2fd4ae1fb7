"""Any file that is called a model: its own parameters, or a message.

Models of several families are written with other prefixes, types and shards,
then damaged or not: as a download, a conversion or an edit by hand may do it.
"""

import collections
import dataclasses
import functools
import json
import random
import re
import shutil
import string
import tempfile
from pathlib import Path

import hypothesis
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies

from input_pipeline import published_inputs
from models.pretrained import families, loading, mapping, opening
from runtime import failures, sections
from tests.models.pretrained import goldens

GOLDENS = (
  "hf_clip",
  "hf_clip_old_eos",
  "hf_siglip",
  "hf_siglip2",
  "hf_vit",
  "hf_bert",
  "hf_align",
  "open_clip_vit",
  "open_clip_siglip",
  "openai_clip",
  "big_vision",
)
PREFIXES = (
  *("", "", "", "module.", "_orig_mod.", "module._orig_mod.", "model."),
  *("base_model.model.", "clip.", "state_dict.", "state_dict.model.module."),
)
FLOATS = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
# Types that quantised models have.
NARROW = (np.int8, np.uint8, np.int32, np.bool_)
# Damage after which nothing may be read.
FATAL = ("drop", "extra", "nan", "inf", "narrow", "flat", "some", "scheme")
DAMAGE = (
  *(
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "header",
    "length",
    "cut",
    "data",
    "other",
    "shard",
    "config",
  ),
  *("not_json", "processor", *FATAL),
)
SCHEMES = ("qweight", "weight.absmax", "weight_packed", "lora_A.weight")
JSON = strategies.recursive(
  strategies.none()
  | strategies.booleans()
  | strategies.integers(-(2**40), 2**40)
  | strategies.floats()
  | strategies.sampled_from(["", "gelu", "clip", "224"])
  | strategies.text(string.printable, max_size=4),
  lambda inner: (
    strategies.lists(inner, max_size=3)
    | strategies.dictionaries(
      strategies.sampled_from(["height", "width", "shortest_edge", "x"]), inner
    )
  ),
  max_leaves=4,
)
PROCESSOR = (
  *("image_mean", "image_std", "size", "crop_size", "resample", "do_resize"),
  *("image_processor_type", "rescale_factor", "do_center_crop", "crop_pct"),
  *("max_num_patches", "image_processor", "do_normalize", "include_top"),
)
OTHERS = (b"", b"<!DOCTYPE html><p>404", b"version https://git-lfs.git", b"{}")


@functools.cache
def _source(golden):
  """Return the model, and the names of the tensors that it must have."""
  found, _ = goldens.read(goldens.FOLDER / f"{golden}.npz")
  family = families.find(found)
  config, params = goldens.load(family, found)
  whole = len(config.towers) == 2
  kept = {p: x for p, x in params.items() if whole or "/" in p}
  written = mapping.save(family.links(config), kept)
  needed = [n for n, x in written.items() if np.ndim(x) == 2]
  return found, needed


@pytest.mark.slow
def test_right_parameters_or_a_message():
  outcomes = collections.Counter()

  @hypothesis.settings(
    max_examples=1000,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    derandomize=True,
    database=None,
    suppress_health_check=[*hypothesis.HealthCheck],
  )
  @hypothesis.given(strategies.data())
  def check(data):
    def pick(values):
      return data.draw(strategies.sampled_from(values))

    folder = Path(tempfile.mkdtemp())
    try:
      outcomes[_outcome(folder, data, pick)] += 1
    finally:
      shutil.rmtree(folder)

  check()
  assert outcomes["read"] > 150, outcomes
  assert outcomes["refused"] > 300, outcomes
  assert not outcomes["refused for no reason"]


def _outcome(folder, data, pick):
  found, needed = _source(pick(GOLDENS))
  damage, prefix = pick(DAMAGE), pick(PREFIXES)
  rng = random.Random(data.draw(strategies.integers(0, 2**16)))
  floats = {n: _cast(x, rng.choice(FLOATS)) for n, x in found.tensors.items()}
  tensors = _damaged(damage, floats, needed, rng)
  tensors = {prefix + n: x for n, x in tensors.items()}
  if damage == "some":
    name = rng.choice(needed)
    tensors[f"net.{name}"] = tensors.pop(prefix + name)
  config = json.loads(json.dumps(found.config))
  if config and damage == "config":
    section = pick([config, *(x for x in config.values() if type(x) is dict)])
    if section:
      section[pick(sorted(section))] = data.draw(JSON)
  files = _write(folder, tensors, config, rng)
  _break(damage, folder, files, data, pick)
  try:
    opened = opening.open_model(folder)
    family = loading.find_family(opened)
    model = loading.read_config(family, opened)
    params = sections.flat(loading.read_params(family, model, opened), "/")
    if model.image is not None and damage == "processor":
      published_inputs.image_protocol(
        str(folder), families.name(family), model, opened
      )
  except (ValueError, OSError) as error:
    _check_message(error, folder)
    return "refused" if damage else "refused for no reason"
  assert damage not in FATAL
  assert damage not in ("cut", "other", "shard")
  if damage in ("data", "config"):
    return "changed"
  plain = {n: np.asarray(x, np.float32) for n, x in floats.items()}
  expected = dataclasses.replace(found, tensors=plain)
  expected = dataclasses.replace(expected, path=folder)
  right = sections.flat(loading.read_params(family, model, expected), "/")
  assert params.keys() == right.keys()
  for path, array in right.items():
    np.testing.assert_array_equal(params[path], array, path)
  return "read"


def _check_message(error, folder):
  said = failures.describe(error)
  assert said is not None, repr(error)  # it would be a traceback
  assert str(folder) in said, said
  assert len(said.splitlines()) <= 3, said
  # The folder's own name is random, and may hold any digits.
  assert not re.search("0x[0-9a-f]{6}", said.replace(str(folder), "")), said


def _cast(array, dtype):
  array = np.asarray(array)
  # A scale of logits keeps its digits, and thus the model its traced shapes.
  whole = array.dtype.kind == "f" and array.size > 1
  return array.astype(dtype) if whole else array


def _damaged(damage, tensors, needed, rng):
  tensors, name = dict(tensors), rng.choice(needed)
  array = np.array(tensors[name], np.float32)
  if damage == "drop":
    del tensors[name]
  elif damage in ("nan", "inf"):
    array[-1, -1] = np.float32(damage)
    tensors[name] = array
  elif damage == "narrow":
    tensors[name] = array.astype(rng.choice(NARROW))
  elif damage == "flat":
    tensors[name] = array.reshape(-1)
  elif damage == "extra":
    tensors["more"] = array
  elif damage == "scheme":
    tensors[f"{name.removesuffix('.weight')}.{rng.choice(SCHEMES)}"] = array
  return tensors


def _write(folder, tensors, config, rng):
  """Write a model's folder; return the files of tensors."""
  stem = "open_clip_model" if "model_cfg" in config else "model"
  if config:
    name = "open_clip_config" if "model_cfg" in config else "config"
    (folder / f"{name}.json").write_text(json.dumps(config))
  tensors = {n: np.array(x, order="C") for n, x in tensors.items()}
  num_shards = rng.randint(1, 3)
  if num_shards == 1:
    path = folder / f"{stem}.safetensors"
    safetensors.numpy.save_file(tensors, path)
    return [path]
  where = {
    n: f"{stem}-{rng.randrange(num_shards)}.safetensors" for n in tensors
  }
  for file in {*where.values()}:
    shard = {n: x for n, x in tensors.items() if where[n] == file}
    safetensors.numpy.save_file(shard, folder / file)
  index = folder / f"{stem}.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": where}))
  return sorted(folder / file for file in {*where.values()})


def _break(damage, folder, files, data, pick):
  path = pick(files)
  content = bytearray(path.read_bytes())
  size = int.from_bytes(content[:8], "little")
  if damage == "header":
    at = data.draw(strategies.integers(8, 8 + size - 1))
    content[at] = data.draw(strategies.integers(0, 255))
  elif damage == "length":
    content[:8] = data.draw(strategies.binary(min_size=8, max_size=8))
  elif damage == "cut":
    content = content[: data.draw(strategies.integers(0, len(content) - 1))]
  elif damage == "data":
    at = data.draw(strategies.integers(8 + size, len(content) - 1))
    content[at : at + 4] = b"\xff\xff\xff\xff"[: len(content) - at]
  elif damage == "other":
    content = pick(OTHERS)
  elif damage == "not_json":
    described = sorted(folder.glob("*.json"))
    if described:
      pick(described).write_bytes(data.draw(strategies.binary()))
    return
  elif damage == "processor":
    names = strategies.sampled_from(PROCESSOR)
    fields = data.draw(strategies.dictionaries(names, JSON))
    name = pick(["preprocessor_config.json", "processor_config.json"])
    (folder / name).write_text(json.dumps(fields))
    return
  elif damage == "shard":
    path.unlink()
    return
  else:
    return
  path.write_bytes(content)
