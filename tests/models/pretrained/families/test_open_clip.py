"""open_clip's models, small: read, computed, their configs written."""

import dataclasses
import json

import numpy as np
import pytest

from models import resnet
from models.pretrained import mapping
from models.pretrained.families import open_clip
from tests.models import towers
from tests.models.pretrained import goldens

_NAMES = ("vit", "eos", "custom", "coca", "coca_wide", "siglip")


def _golden(name):
  return goldens.read(goldens.FOLDER / f"open_clip_{name}.npz")[0]


def _with(found, section, **fields):
  """Return the source with other fields in a section of "model_cfg"."""
  model_cfg = found.config["model_cfg"]
  if section:
    fields = {section: model_cfg[section] | fields}
  return dataclasses.replace(
    found, config=found.config | {"model_cfg": model_cfg | fields}
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", _NAMES)
def test_equals_open_clip(name):
  goldens.check(open_clip, goldens.FOLDER / f"open_clip_{name}.npz")


@pytest.mark.parametrize("name", _NAMES)
def test_config_survives_writing(name):
  found = _golden(name)
  model = open_clip.read_model(found)
  written = json.loads(json.dumps(open_clip.write_config(model)))
  again = open_clip.read_model(dataclasses.replace(found, config=written))
  assert again == model


def test_a_resnet_is_written():
  """Its heads are what its width makes them there."""
  found = _golden("vit")
  image = resnet.ResNetConfig(
    tower="resnet",
    image_size=96,
    width=16,
    depths=(1, 2, 3, 4),
    num_heads=8,
    batch_norm_group=0,
    norm_epsilon=1e-5,
    norm_momentum=0.9,
  )
  model = dataclasses.replace(open_clip.read_model(found), image=image)
  written = open_clip.write_config(model)["model_cfg"]["vision_cfg"]
  assert written == {"image_size": 96, "width": 16, "layers": [1, 2, 3, 4]}
  image = dataclasses.replace(image, num_heads=4)
  with pytest.raises(ValueError, match=r"image\.num_heads: expected 8; got 4"):
    open_clip.write_config(dataclasses.replace(model, image=image))


def test_mlp_widths_survive_writing():
  """The width there is a product whose fraction is cut off."""
  found = _golden("vit")
  model = open_clip.read_model(found)
  for width, mlp_width in ((1408, 6144), (1664, 8192), (1152, 4304), (70, 29)):
    image = dataclasses.replace(
      model.image, width=width, num_heads=2, mlp_width=mlp_width
    )
    written = open_clip.write_config(dataclasses.replace(model, image=image))
    again = open_clip.read_model(dataclasses.replace(found, config=written))
    assert again.image == image


@pytest.mark.parametrize("name", ["vit", "coca"])
def test_shapes_alone_describe_a_model(name):
  """All but what is not in them: heads of 64, and eight of CoCa's pooling."""
  found = _golden(name)
  want = open_clip.read_model(found)
  got = open_clip.read_model(dataclasses.replace(found, config={}))
  for tower in ("image", "text"):
    fields = {"num_heads": getattr(want, tower).num_heads}
    if tower == "image" and name == "coca":
      assert got.image.pool_heads == 8
      fields["pool_heads"] = want.image.pool_heads
    changed = dataclasses.replace(getattr(got, tower), **fields)
    assert changed == getattr(want, tower)


def test_both_places_of_the_text_tower_are_read():
  found = _golden("vit")
  model, params = goldens.load(open_clip, found)
  moved = {
    name if name.startswith(("visual.", "logit")) else f"text.{name}": x
    for name, x in found.tensors.items()
  }
  other = dataclasses.replace(found, tensors=moved)
  _, again = goldens.load(open_clip, other)
  for path, array in params.items():
    np.testing.assert_array_equal(again[path], array)
  assert open_clip.recognises(dataclasses.replace(other, config={}))
  assert "token_embedding.weight" in mapping.save(
    open_clip.links(model), params
  )


@pytest.mark.parametrize(
  ("section", "fields", "message"),
  [
    ("", {"fancy": True}, "not known.*fancy"),
    ("vision_cfg", {"ls_init_value": 0.1}, "ls_init_value must be .*None"),
    ("vision_cfg", {"pool_type": "avg"}, "pool_type must be one of 'tok'"),
    ("vision_cfg", {"rope": 1}, "vision_cfg has fields .*not known here: rope"),
    ("vision_cfg", {"attentional_pool": "cascade"}, "attentional_pool must be"),
    ("vision_cfg", {"timm_model_name": "vit_x"}, "timm_model_name must be"),
    ("text_cfg", {"hf_model_name": "xlm"}, "hf_model_name must be"),
    ("text_cfg", {"pool_type": "none"}, "pool_type must be one of 'argmax'"),
    ("text_cfg", {"act_kwargs": {"x": 1}}, "act_kwargs must be one of"),
    ("text_cfg", {"norm_kwargs": {"x": 1}}, r"norm_kwargs has .*here: x"),
  ],
)
def test_refuses_what_would_be_another_function(section, fields, message):
  with pytest.raises(ValueError, match=message):
    open_clip.read_model(_with(_golden("vit"), section, **fields))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_is_one_number(shape):
  found = _golden("siglip")
  _, params = goldens.load(open_clip, found)
  assert params["bias"]
  logits = ("logit_scale", "logit_bias")
  other = {x: np.reshape(found.tensors[x], shape) for x in logits}
  found = dataclasses.replace(found, tensors={**found.tensors, **other})
  found = _with(found, "", nonscalar_logit_scale=True)
  _, again = goldens.load(open_clip, found)
  assert again["log_scale"].shape == again["bias"].shape == ()
  assert again["log_scale"] == params["log_scale"]
  assert again["bias"] == params["bias"]


def test_fields_of_training_change_nothing():
  found = _golden("vit")
  model = open_clip.read_model(found)
  found = _with(found, "vision_cfg", patch_dropout=0.5, drop_path_rate=0.1)
  found = _with(found, "text_cfg", dropout=0.1, use_cache=True)
  assert open_clip.read_model(found) == model


def test_the_highest_id_is_pooled():
  """As open_clip's "argmax" does, whatever tokens were added."""
  text = open_clip.read_model(_with(_golden("vit"), "text_cfg")).text
  assert text.pool == "argmax"
  whole = _with(_golden("vit"), "text_cfg", vocab_size=49_408)
  text = open_clip.read_model(whole).text
  assert (text.pool, text.eot_id) == ("eot", 49_407)


def test_a_file_without_config_needs_open_clip_s_own_towers():
  found = _golden("siglip")
  found = dataclasses.replace(found, config={})
  assert open_clip.recognises(found)
  with pytest.raises(ValueError, match=r"open_clip_config\.json must lie"):
    open_clip.read_model(found)


def test_write_config_lists_what_has_no_room():
  with pytest.raises(ValueError, match="open_clip cannot express") as error:
    open_clip.write_config(
      towers.make_config(image={"activation": "quick_gelu"})
    )
  for line in (
    "model.image.activation: expected 'gelu' or 'gelu_tanh' with pool 'map';",
    "model.text.mask_padding: expected False; got True",
  ):
    assert line in str(error.value)
