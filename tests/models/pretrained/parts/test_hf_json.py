"""Values of transformers' config.json that are accepted or refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from models import dual_encoder
from models.pretrained import loading, mapping
from models.pretrained.families import hf_bert, hf_siglip, hf_siglip2, hf_vit
from runtime import sections
from tests.models.pretrained import goldens

_NAMES = {
  "hf_siglip": hf_siglip,
  "hf_siglip2": hf_siglip2,
  "hf_bert": hf_bert,
  "hf_vit": hf_vit,
}


def _found(name, section=None, **fields):
  """Return a golden model with other settings, of a section or of all."""
  found, _ = goldens.read(goldens.FOLDER / f"{name}.npz")
  config = dict(found.config)
  if section is None:
    config |= fields
  else:
    config[section] = config[section] | fields
  return dataclasses.replace(found, config=config)


@pytest.mark.parametrize("name", _NAMES)
def test_only_its_own_family_recognises_a_model(name):
  found = _found(name)
  assert [n for n, family in _NAMES.items() if family.recognises(found)] == [
    name
  ]


@pytest.mark.parametrize("name", _NAMES)
def test_written_config_is_read_again(name):
  """And says all: the model read from it is the same."""
  found, family = _found(name), _NAMES[name]
  model = family.read_model(found)
  written = json.loads(json.dumps(family.write_config(model)))
  assert family.read_model(dataclasses.replace(found, config=written)) == model


@pytest.mark.parametrize(
  ("name", "section", "fields", "message"),
  [
    (
      "hf_siglip",
      "vision_config",
      {"hidden_act": "silu"},
      "vision_config: hidden_act must be one of 'gelu'.* got 'silu'",
    ),
    (
      "hf_siglip",
      "vision_config",
      {"vision_use_head": False},
      "vision_use_head must be one of True; got False",
    ),
    (
      "hf_siglip",
      "vision_config",
      {"patch_size": [8, 4]},
      r"vision_config: patch_size must be an integer .* got \[8, 4\]",
    ),
    (
      "hf_siglip",
      "text_config",
      {"projection_size": 20},
      "projection_size must equal vision_config's hidden_size; got 20 and 16",
    ),
    (
      "hf_siglip2",
      "vision_config",
      {"num_patches": 15},
      "num_patches must be a square; got 15",
    ),
    ("hf_bert", None, {"is_decoder": True}, "is_decoder must be one of False"),
    (
      "hf_bert",
      None,
      {"position_embedding_type": "relative_key"},
      "position_embedding_type must be one of 'absolute'; got 'relative_key'",
    ),
    ("hf_vit", None, {"qkv_bias": False}, "qkv_bias must be one of True"),
  ],
)
def test_settings_that_change_the_function(name, section, fields, message):
  with pytest.raises(ValueError, match=message):
    _NAMES[name].read_model(_found(name, section, **fields))


@pytest.mark.parametrize(
  ("name", "tower", "fields", "message"),
  [
    (
      "hf_siglip",
      "text",
      {"pool": "map"},
      r"model\.text\.pool must be 'last' in this format; got 'map'",
    ),
    (
      "hf_siglip",
      "image",
      {"projection": True},
      r"model\.image\.projection must be False",
    ),
    ("hf_bert", "text", {"projection": True}, r"model\.text\.projection must"),
    ("hf_vit", "image", {"pre_norm": True}, r"model\.image\.pre_norm must be"),
  ],
)
def test_what_a_format_cannot_express(name, tower, fields, message):
  model = _NAMES[name].read_model(_found(name))
  changed = dataclasses.replace(getattr(model, tower), **fields)
  with pytest.raises(ValueError, match=message):
    _NAMES[name].write_config(dataclasses.replace(model, **{tower: changed}))


def test_all_towers_that_a_format_has(tmp_path):
  bert = hf_bert.read_model(_found("hf_bert"))
  siglip = hf_siglip.read_model(_found("hf_siglip"))
  with pytest.raises(ValueError, match=r"model\.image must be None .* got vit"):
    hf_bert.write_config(dataclasses.replace(bert, image=siglip.image))
  with pytest.raises(ValueError, match=r"model\.text must be a tower"):
    hf_siglip.write_config(dataclasses.replace(siglip, text=None))


@pytest.mark.parametrize(
  ("pooling", "want"),
  [
    (
      {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
      "mean",
    ),
    ({"pooling_mode_cls_token": True}, "cls"),
    ({"pooling_mode": "mean", "embedding_dimension": 16}, "mean"),
  ],
)
def test_pooling_of_sentence_transformers(tmp_path, pooling, want):
  found = dataclasses.replace(_found("hf_bert"), path=tmp_path)
  assert hf_bert.read_model(found).text.pool == "cls"
  (tmp_path / "1_Pooling").mkdir()
  (tmp_path / "1_Pooling/config.json").write_text(json.dumps(pooling))
  assert hf_bert.read_model(found).text.pool == want
  (tmp_path / "1_Pooling/config.json").write_text(
    json.dumps({"pooling_mode_max_tokens": True})
  )
  with pytest.raises(ValueError, match="one pooling mode .* got max_tokens"):
    hf_bert.read_model(found)


@pytest.mark.parametrize(
  ("name", "file", "content", "said"),
  [
    (
      "hf_bert",
      "1_Pooling/config.json",
      {"pooling_mode": "mean"},
      "assumed that the first token is a text's embedding",
    ),
    (
      "hf_siglip2",
      "preprocessor_config.json",
      {"max_num_patches": 9},
      "max_num_patches: assumed 16 patches",
    ),
  ],
)
def test_settings_that_are_assumed_are_said(
  tmp_path, capsys, name, file, content, said
):
  found = dataclasses.replace(_found(name), path=tmp_path)
  _NAMES[name].read_model(found)
  assert said in capsys.readouterr().err
  file = tmp_path / "given" / file
  file.parent.mkdir(parents=True)
  file.write_text(json.dumps(content))
  found = dataclasses.replace(found, path=tmp_path / "given")
  _NAMES[name].read_model(found)
  assert "assumed" not in capsys.readouterr().err


def test_other_modules_of_sentence_transformers(tmp_path):
  found = dataclasses.replace(_found("hf_bert"), path=tmp_path)
  kinds = ["Transformer", "Pooling", "Normalize"]
  file = tmp_path / "modules.json"

  def write(kinds):
    file.write_text(
      json.dumps([{"type": f"sentence_transformers.models.{k}"} for k in kinds])
    )

  write(kinds)
  hf_bert.read_model(found)
  write([*kinds, "Dense"])
  with pytest.raises(ValueError, match="modules.json: .* got Dense"):
    hf_bert.read_model(found)


def test_image_statistics(tmp_path):
  found = dataclasses.replace(_found("hf_vit"), path=tmp_path)
  model = loading.read_config(hf_vit, found)
  assert model.image_mean == (0.5, 0.5, 0.5)
  file = tmp_path / "preprocessor_config.json"
  file.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
  model = loading.read_config(hf_vit, found)
  assert model.image_mean == (0.1, 0.2, 0.3)
  assert model.image_std == (0.5, 0.5, 0.5)
  file.write_text(json.dumps({"do_normalize": False}))
  model = loading.read_config(hf_vit, found)
  assert (*model.image_mean, *model.image_std) == (0, 0, 0, 1, 1, 1)


@pytest.mark.parametrize("old", [False, True])
def test_names_below_a_prefix(old):
  """BertModel's names, and those of BERT inside a model of another task."""
  found = _found("hf_bert")
  norms = {"LayerNorm.weight": "LayerNorm.gamma"} if old else {}
  norms |= {"LayerNorm.bias": "LayerNorm.beta"} if old else {}

  def rename(name):
    for new, former in norms.items():
      name = name.replace(new, former)
    return f"bert.{name}"

  tensors = {rename(name): x for name, x in found.tensors.items()}
  tensors["bert.pooler.dense.weight"] = np.zeros((16, 16), np.float32)
  tensors["cls.predictions.bias"] = np.zeros(40, np.float32)
  _, want = goldens.load(hf_bert, found)
  _, got = goldens.load(hf_bert, dataclasses.replace(found, tensors=tensors))
  for path, x in want.items():
    np.testing.assert_array_equal(got[path], x, path)
  removed = rename("embeddings.LayerNorm.bias")
  tensors["bert.more"] = tensors.pop(removed)
  with pytest.raises(
    mapping.MappingError,
    match=r"missing: .*LayerNorm.bias .*; 1 left over: bert.more",
  ):
    goldens.load(hf_bert, dataclasses.replace(found, tensors=tensors))


@pytest.mark.parametrize("name", ["hf_bert", "hf_vit"])
def test_a_projection_that_the_file_lacks_keeps_its_values(name):
  """A run's tower with a projection may start from one without."""
  found, family = _found(name), _NAMES[name]
  tower, prefix = ("text", "txt") if name == "hf_bert" else ("image", "img")
  tensors = {k: x for k, x in found.tensors.items() if "classifier" not in k}
  model = family.read_model(dataclasses.replace(found, tensors=tensors))
  projecting = dataclasses.replace(
    getattr(model, tower), projection=True, projection_bias=False
  )
  model = dataclasses.replace(model, embed_dim=12, **{tower: projecting})
  shapes = jax.eval_shape(
    lambda key: dual_encoder.init_params(model, key), jax.random.key(0)
  )
  params = mapping.load(
    family.links(model),
    tensors,
    shapes,
    ignored=family.IGNORED,
    prefix=f"{prefix}/",
  )
  wanted = {x for x in sections.flat(shapes, "/") if x.startswith(f"{prefix}/")}
  assert wanted - {*params} == {f"{prefix}/projection/kernel"}
