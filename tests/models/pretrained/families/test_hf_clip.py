"""CLIP and MetaCLIP 2 of transformers, small: read, computed, written."""

import dataclasses
import json

import numpy as np
import pytest

from models.pretrained import mapping, opening
from models.pretrained.families import hf_clip
from tests.models import towers
from tests.models.pretrained import goldens

_NAMES = ("clip", "clip_gelu", "clip_old_eos", "metaclip_2")


def _golden(name):
  return goldens.read(goldens.FOLDER / f"hf_{name}.npz")[0]


def _with(found, section="text_config", **fields):
  """Return the source with other fields in config.json."""
  changed = {**found.config[section], **fields}
  return dataclasses.replace(found, config={**found.config, section: changed})


@pytest.mark.slow
@pytest.mark.parametrize("name", _NAMES)
def test_equals_transformers(name):
  goldens.check(hf_clip, goldens.FOLDER / f"hf_{name}.npz")


@pytest.mark.parametrize("name", _NAMES)
def test_config_survives_writing(name):
  found = _golden(name)
  model = hf_clip.read_model(found)
  written = json.loads(json.dumps(hf_clip.write_config(model)))
  assert hf_clip.read_model(dataclasses.replace(found, config=written)) == model


def test_what_config_json_leaves_out_is_the_class_s_default():
  scale = {"logit_scale": np.float32(np.log(50))}
  projections = {"text_projection.weight": 0, "visual_projection.weight": 0}
  found = opening.PublishedFiles(
    goldens.FOLDER, {"model_type": "clip"}, scale | projections
  )
  model = hf_clip.read_model(found)
  assert model.embed_dim == 512
  assert model.scale_init == pytest.approx(50)
  assert (model.image.patch_size, model.image.width) == (32, 768)
  assert (model.image.num_heads, model.image.activation) == (12, "quick_gelu")
  assert (model.text.vocab_size, model.text.num_tokens) == (49_408, 77)
  assert (model.text.eot_id, model.text.num_heads) == (49_407, 8)


def test_an_old_section_replaces_the_new_one():
  """As transformers reads it, with its defaults beside what it says."""
  found = _golden("clip")
  old = found.config["text_config"] | {"num_attention_heads": 4}
  config = {**found.config, "text_config_dict": old}
  model = hf_clip.read_model(dataclasses.replace(found, config=config))
  assert model.text.num_heads == 4


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_files_of_one_tower(tower, bare):
  """With its projection, or bare: without, and without a prefix of names."""
  found = _golden("clip")
  other = {"text": "vi", "vision": "text_"}[tower]
  tensors = {
    name: x
    for name, x in found.tensors.items()
    if not name.startswith((other, "logit_scale"))
  }
  if bare:
    tensors = {
      name.removeprefix(f"{tower}_model."): x
      for name, x in tensors.items()
      if "projection" not in name
    }
  config = {
    **found.config[f"{tower}_config"],
    "model_type": f"clip_{tower}_model",
  }
  _, whole = goldens.load(hf_clip, found)
  alone = dataclasses.replace(found, config=config, tensors=tensors)
  model, params = goldens.load(hf_clip, alone)
  assert (model.text is None, model.image is None) == (
    tower == "vision",
    tower == "text",
  )
  prefix = "txt/" if tower == "text" else "img/"
  assert {p for p in params if "/" in p} == {
    p
    for p in whole
    if p.startswith(prefix) and not (bare and "projection" in p)
  }
  assert model.embed_dim == (model.towers[0].width if bare else 12)
  for path in params.keys() - {"log_scale"}:
    np.testing.assert_array_equal(params[path], whole[path])


@pytest.mark.parametrize(
  ("section", "fields", "message"),
  [
    (
      "text_config",
      {"hidden_act": "relu"},
      r"text_config: hidden_act must be one of 'gelu', .*'relu'",
    ),
    (
      "vision_config",
      {"num_channels": 4},
      r"vision_config: num_channels must be one of 3; got 4",
    ),
    (
      "vision_config",
      {"image_size": [12, 16]},
      r"vision_config: image_size must be an integer .*got \[12, 16\]",
    ),
    (
      "text_config",
      {"eos_token_id": [2, 3]},
      r"text_config: eos_token_id must be one id; got \[2, 3\]",
    ),
  ],
)
def test_refuses_what_would_be_another_function(section, fields, message):
  with pytest.raises(ValueError, match=message):
    hf_clip.read_model(_with(_golden("clip"), section, **fields))


def test_fields_of_training_change_nothing():
  found = _golden("clip")
  model = hf_clip.read_model(found)
  for section in ("text_config", "vision_config"):
    found = _with(
      found,
      section,
      attention_dropout=0.1,
      dropout=0.2,
      use_cache=True,
      initializer_range=0.5,
    )
  assert hf_clip.read_model(found) == model


@pytest.mark.parametrize(
  ("vocab_size", "eos", "pool", "eot_id"),
  [
    (49_408, 2, "eot", 49_407),
    # Tokens were added, or the vocabulary is another.
    (49_410, 2, "argmax", 49_409),
    (514, 2, "argmax", 513),
    (49_410, 49_407, "eot", 49_407),
  ],
)
def test_old_configs_pool_the_highest_id(vocab_size, eos, pool, eot_id):
  found = _with(_golden("clip"), vocab_size=vocab_size, eos_token_id=eos)
  model = hf_clip.read_model(found)
  assert (model.text.pool, model.text.eot_id) == (pool, eot_id)
  written = dataclasses.replace(found, config=hf_clip.write_config(model))
  assert hf_clip.read_model(written) == model


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_scale_with_axes(shape):
  found = _golden("clip")
  scale = np.reshape(found.tensors["logit_scale"], shape)
  tensors = {**found.tensors, "logit_scale": scale}
  found = dataclasses.replace(found, tensors=tensors)
  _, params = goldens.load(hf_clip, found)
  assert params["log_scale"] == scale.item()
  assert params["log_scale"].shape == ()


def test_refuses_tensors_that_do_not_fit():
  found = _golden("clip")
  tensors = dict(found.tensors)
  tensors["surplus"] = tensors.pop("text_model.final_layer_norm.bias")
  with pytest.raises(
    mapping.MappingError,
    match=r"(?s)1 missing:\s+text_model\.final_layer_norm\.bias .*left over.*"
    "surplus",
  ):
    goldens.load(hf_clip, dataclasses.replace(found, tensors=tensors))


def test_another_resolution():
  """A run on larger images: the grid is resized, the cls token's row is not."""
  found = _golden("clip")
  model = hf_clip.read_model(found)
  larger = dataclasses.replace(
    model, image=dataclasses.replace(model.image, image_size=20)
  )
  shapes = towers.make_shapes(larger)
  _, params = goldens.load(hf_clip, found)
  resized = mapping.load(hf_clip.links(larger), found.tensors, shapes)
  before, after = params["img/position"], resized["img/position"]
  assert (len(before), len(after)) == (10, 26)
  np.testing.assert_array_equal(after[0], before[0])
  # A grid of 3 x 3 and of 5 x 5 have the same centre.
  centre = after[1:].reshape(5, 5, -1)[2, 2]
  np.testing.assert_allclose(centre, before[1 + 4], atol=1e-6)


def test_write_config_lists_what_has_no_room():
  with pytest.raises(ValueError, match="transformers' CLIPModel") as error:
    hf_clip.write_config(towers.MODEL)
  for line in (
    "model.image.pool: expected 'cls'; got 'map'",
    "model.text.causal: expected True; got False",
    "model.bias_init: expected 0.0; got -10.0",
  ):
    assert line in str(error.value)


def test_a_bias_is_not_lost_silently():
  found = _golden("clip")
  model, params = goldens.load(hf_clip, found)
  params["bias"] = np.float32(-10)
  with pytest.raises(
    mapping.MappingError, match=r"always 0\.0 there:\s+bias: got -10"
  ):
    mapping.save(hf_clip.links(model), params)
