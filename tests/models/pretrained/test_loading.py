"""Every published family is told from the others, and read from a folder."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from input_pipeline.images import image_protocols
from models import pretrained
from models.pretrained import families, mapping, source
from tests import runs
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror

# Of a golden file's name, its family; the longest name that fits is meant.
_NAMES = {
  "hf_metaclip_2": "hf_clip",
  **{
    families.name(family): families.name(family) for family in families.FAMILIES
  },
}
# Those of a single tower of open_clip have no family of their own.
GOLDENS = sorted(
  path.stem
  for path in goldens.FOLDER.glob("*.npz")
  if path.stem.startswith(tuple(_NAMES))
)


def _family(golden):
  fitting = [name for name in _NAMES if golden.startswith(name)]
  return _NAMES[max(fitting, key=len)]


def _folder(golden, folder):
  """Write what a golden file holds as a published folder or file."""
  found, _ = goldens.read(goldens.FOLDER / f"{golden}.npz")
  if _family(golden) == "big_vision":
    np.savez(folder / "weights.npz", **found.tensors)
    return folder / "weights.npz", found
  mirror.write_source(folder, found)
  return folder, found


@pytest.mark.parametrize("golden", GOLDENS)
def test_each_family_is_told_from_the_others(golden):
  found, _ = goldens.read(goldens.FOLDER / f"{golden}.npz")
  names = [families.name(x) for x in families.FAMILIES if x.recognises(found)]
  assert names == [_family(golden)]


@pytest.mark.parametrize("golden", GOLDENS)
def test_a_folder_is_loaded(golden, tmp_path):
  path, found = _folder(golden, tmp_path)
  loaded = pretrained.load(path)
  assert loaded.family == _family(golden)
  family = families.find(found)
  config = loaded.config
  assert config == dataclasses.replace(
    family.read_model(found),
    image_mean=config.image_mean,
    image_std=config.image_std,
  )
  params = mapping.flat(loaded.params)
  assert all(x.dtype == np.float32 for x in params.values())
  back = mapping.save(
    family.links(config),
    {p: x for p, x in params.items() if len(config.towers) == 2 or "/" in p},
  )
  assert back
  for name, array in back.items():
    np.testing.assert_array_equal(array, found.tensors[name], name)
  # No logits were published for a single tower.
  np.testing.assert_allclose(
    np.exp(params["log_scale"]), config.scale_init, rtol=1e-6
  )
  assert loaded.tokenizer is None
  assert loaded.tokenizer_problem
  # An EfficientNet of any size has a protocol of its own, in its folder.
  has_images = config.image is not None and loaded.family != "hf_efficientnet"
  assert (loaded.image_protocol is not None) == has_images
  assert bool(loaded.image_problem) != has_images


def test_images_are_made_ready_as_the_folder_says(tmp_path):
  _folder("hf_clip", tmp_path)
  by_default = pretrained.load(tmp_path)
  size = by_default.config.image.image_size
  assert by_default.image_protocol == image_protocols.PROTOCOLS["clip"].at(size)
  squash = dataclasses.replace(
    image_protocols.PROTOCOLS["siglip"].at(size), std=(0.1, 0.2, 0.3)
  )
  described = tmp_path / "preprocessor_config.json"
  described.write_text(json.dumps(image_protocols.to_hf(squash)))
  loaded = pretrained.load(tmp_path)
  assert loaded.image_protocol.resize == "squash"
  assert loaded.image_protocol.size == size
  assert loaded.config.image_std == (0.1, 0.2, 0.3)
  described.write_text('{"do_pad": true}')
  loaded = pretrained.load(tmp_path)
  assert loaded.image_protocol is None
  assert "do_pad" in loaded.image_problem


def test_a_vocabulary_larger_than_the_model_s(tmp_path):
  _folder("hf_clip", tmp_path)
  from input_pipeline.tokenizers import bytes as bytes_lib
  from input_pipeline.tokenizers import hf_files

  made = bytes_lib.make_tokenizer(
    list, tmp_path, languages=(), vocab_size=258, num_tokens=5
  )
  hf_files.write(made, tmp_path)
  loaded = pretrained.load(tmp_path)
  assert loaded.tokenizer is None
  assert "has 258 entries; the model has" in loaded.tokenizer_problem


def test_an_unknown_family(tmp_path):
  found = source.Source(tmp_path, {"model_type": "llama"}, {"a": 0, "b": 1})
  with pytest.raises(
    ValueError, match=r"no family .*hf_clip.*'llama', and its 2 .* a, b$"
  ):
    families.find(found)


def test_nothing_heavy_is_imported():
  """Importing takes as long as JAX and Flax do."""
  heavy = (
    "grain",
    "orbax",
    "tokenizers",
    "matplotlib",
    "PIL",
    "input_pipeline",
  )
  script = (
    "import sys, models.pretrained;"
    f"print([name for name in {heavy} if name in sys.modules])"
  )
  result = subprocess.run(
    (sys.executable, "-c", script),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == "[]"
