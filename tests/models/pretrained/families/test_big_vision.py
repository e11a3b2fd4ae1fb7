"""big_vision's npz: equal to open_clip's reading of it, in all of its forms."""

import re

import numpy as np
import pytest

from models.pretrained import mapping, opening
from models.pretrained.families import big_vision
from tests.models.pretrained import goldens

_PATH = goldens.FOLDER / "big_vision.npz"


def _load(found, tensors):
  return goldens.load(
    big_vision, opening.PublishedFiles(found.path, found.config, tensors)
  )


def test_equals_open_clip():
  goldens.check(big_vision, _PATH)


@pytest.mark.parametrize("prefix", ["params/", ""])
@pytest.mark.parametrize("stacked", [False, True])
def test_other_names_of_the_same(prefix, stacked):
  found, _ = goldens.read(_PATH)
  tensors = {
    prefix + name.removeprefix("params/"): x
    for name, x in found.tensors.items()
  }
  if stacked:
    for name in [name for name in tensors if "encoderblock_0" in name]:
      layers = [name, name.replace("encoderblock_0", "encoderblock_1")]
      tensors[name.replace("encoderblock_0", "encoderblock")] = np.stack(
        [tensors.pop(layer) for layer in layers]
      )
  tensors["opt/0/count"] = np.zeros((), np.int32)
  want_config, want = goldens.load(big_vision, found)
  config, params = _load(found, tensors)
  assert config == want_config
  assert params.keys() == want.keys()
  for path, x in want.items():
    np.testing.assert_array_equal(params[path], x, path)


def test_cls_token_has_no_position():
  """big_vision adds positions first, then puts the cls token before them."""
  found, _ = goldens.read(_PATH)
  tensors = {
    name: x for name, x in found.tensors.items() if "MAPHead" not in name
  }
  tensors["params/img/cls"] = np.ones((1, 1, 16), np.float32)
  config, params = _load(found, tensors)
  assert config.image.pool == "cls"
  np.testing.assert_array_equal(params["img/position"][0], 0)
  np.testing.assert_array_equal(
    params["img/position"][1:], tensors["params/img/pos_embedding"][0]
  )
  back = mapping.save(big_vision.links(config), params)
  for name, x in back.items():
    np.testing.assert_array_equal(x, tensors[name], name)


def test_naflex():
  """A kernel of flat patches and a table with two axes: the NaFlex tower."""
  found, _ = goldens.read(_PATH)
  tensors = dict(found.tensors)
  for name, shape in (
    ("params/img/embedding/kernel", (8 * 8 * 3, 16)),
    ("params/img/pos_embedding", (2, 2, 16)),
  ):
    tensors[name] = tensors[name].reshape(shape)
  _, want = goldens.load(big_vision, found)
  config, params = _load(found, tensors)
  assert config.image.tower == "naflex"
  assert (config.image.position_size, config.image.patch_size) == (2, 8)
  for path, x in want.items():
    np.testing.assert_array_equal(params[path], x, path)
  back = mapping.save(big_vision.links(config), params)
  for name, x in back.items():
    np.testing.assert_array_equal(x, tensors[name], name)


def test_messages():
  found, _ = goldens.read(_PATH)
  config, _ = goldens.load(big_vision, found)
  name = "params/img/Transformer/encoderblock_1/MlpBlock_0/Dense_1/bias"
  tensors = {**found.tensors, "params/img/more": np.zeros(2, np.float32)}
  del tensors[name]
  with pytest.raises(
    mapping.MappingError,
    match=f"1 missing: {re.escape(name)} .*; 1 left over: .*img/more",
  ):
    _load(found, tensors)
  logits = {**found.tensors, "params/img/pre_logits/kernel": np.zeros((16, 16))}
  with pytest.raises(ValueError, match="img/pre_logits: expected a tower"):
    _load(found, logits)
  query = "params/img/MAPHead_0/MultiHeadDotProductAttention_0/query/bias"
  heads = {**found.tensors, query: found.tensors[query].reshape(4, 4)}
  with pytest.raises(ValueError, match="with 2 heads; got 4"):
    _load(found, heads)
