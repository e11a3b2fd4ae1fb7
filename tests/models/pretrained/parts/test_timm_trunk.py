"""open_clip's models whose image tower is timm's: what is written of them."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from models.pretrained import mapping
from models.pretrained.families import open_clip
from models.pretrained.parts import timm_convnext, timm_siglip, timm_trunk
from tests.models.pretrained import goldens

_NAMES = sorted(timm_siglip._MODELS)


def _siglip(**fields):
  """Return a small SigLIP as it was found, and it with other image fields."""
  found, _ = goldens.read(goldens.FOLDER / "open_clip_siglip.npz")
  model = open_clip.read_model(found)
  image = dataclasses.replace(model.image, **fields)
  return found, dataclasses.replace(model, image=image)


def _written(model):
  return json.loads(json.dumps(open_clip.write_config(model)))


@pytest.mark.parametrize("name", _NAMES)
def test_a_published_siglip_keeps_its_name(name):
  vision = {"timm_model_name": name, "timm_pool": "map", "timm_proj": "none"}
  image = timm_siglip.read_image(vision, None)
  assert name.endswith(f"_{image.image_size}")
  assert timm_siglip.describe_image(image) is None
  vision |= {"image_size": image.image_size}
  assert timm_siglip.write_image(image) == vision
  # Fields of training alone do not matter.
  image = dataclasses.replace(image, dropout=0.1, patch_dropout=0.5)
  assert timm_siglip.write_image(image) == vision


@pytest.mark.parametrize(
  ("field", "value", "arg"),
  [
    ("activation", "gelu_tanh", {"act_layer": "gelu_tanh"}),
    ("image_size", 240, {"img_size": 240}),
    ("num_heads", 8, {"num_heads": 8}),
    ("mlp_width", 3000, {"mlp_ratio": 3000 / 768}),
  ],
)
def test_another_siglip_is_described(field, value, arg):
  """As B/16 is in transformers and big_vision, with tanh in its GELU."""
  b16 = timm_siglip._MODELS["vit_base_patch16_siglip_224"]
  image = dataclasses.replace(b16, **{field: value})
  assert timm_siglip.write_image(image)["timm_model_name"] == "local-dir:timm"
  described = timm_siglip.describe_image(image)
  assert described["architecture"] == "vit_base_patch16_siglip_224"
  assert described["model_args"] == {
    "img_size": 224,
    "patch_size": 16,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4.0,
    "act_layer": "gelu",
    **arg,
  }
  vision = timm_siglip.write_image(image)
  again = timm_siglip.read_image(vision, described["model_args"])
  assert again == image


def _convnext(name):
  """Return a model with the ConvNeXt of a golden file, and all its tensors."""
  found, _ = goldens.read(goldens.FOLDER / f"{name}.npz")
  whole, _ = goldens.read(goldens.FOLDER / "open_clip_vit.npz")
  model, params = goldens.load(open_clip, whole)
  image, embed_dim = timm_convnext.read_image(found.tensors, found.config)
  model = dataclasses.replace(model, image=image, embed_dim=embed_dim)
  tensors = found.tensors | {
    theirs: x
    for theirs, x in whole.tensors.items()
    if not theirs.startswith("visual.")
  }
  tensors["text_projection"] = tensors["text_projection"][:, :embed_dim]
  return dataclasses.replace(whole, tensors=tensors), model


@pytest.mark.parametrize("name", ["timm_convnext", "timm_convnext_mlp"])
def test_a_convnext_is_written_to_the_bit(name):
  found, model = _convnext(name)
  written = _written(model)
  found = dataclasses.replace(found, config=written)
  again, params = goldens.load(open_clip, found)
  assert again == model
  assert written["timm_cfg"]["model_args"] == {
    "depths": [1, 2, 1, 2],
    "dims": [8, 12, 16, 20],
    "norm_eps": 1e-6,
  }
  assert not written["model_cfg"].get("custom_text")
  tensors = mapping.save(open_clip.links(again), params)
  assert tensors.keys() == found.tensors.keys()
  for theirs, array in tensors.items():
    np.testing.assert_array_equal(array, found.tensors[theirs], theirs)


@pytest.mark.parametrize(
  ("name", "vision"),
  [
    # As open_clip has them, but for what is its default.
    ("convnext_base", {"timm_proj": "linear", "image_size": 256}),
    (
      "convnext_xxlarge",
      {"timm_proj": "mlp", "image_size": 320, "timm_drop_path": 0.1},
    ),
  ],
)
def test_a_published_convnext_keeps_its_name(name, vision):
  _, model = _convnext("timm_convnext")
  depths, widths, norm_epsilon = timm_convnext._MODELS[name]
  image = dataclasses.replace(
    model.image,
    depths=depths,
    widths=widths,
    norm_epsilon=norm_epsilon,
    head=vision["timm_proj"],
    image_size=vision["image_size"],
    drop_path=vision.get("timm_drop_path", 0.0),
  )
  written = _written(dataclasses.replace(model, image=image))
  assert "timm_cfg" not in written
  assert written["model_cfg"]["vision_cfg"] == vision | {
    "timm_model_name": name,
    "timm_pool": "",
    "timm_proj_bias": False,
  }


def test_timm_s_convnext_has_four_stages():
  _, model = _convnext("timm_convnext")
  image = dataclasses.replace(model.image, depths=(1, 1), widths=(8, 16))
  with pytest.raises(
    ValueError, match=r"depths: expected 4 stages; got \(1, 1"
  ):
    open_clip.write_config(dataclasses.replace(model, image=image))


def test_the_norms_of_the_largest_convnext():
  found, _ = goldens.read(goldens.FOLDER / "timm_convnext.npz")
  for name, epsilon in (("convnext_base", 1e-6), ("convnext_xxlarge.x", 1e-5)):
    config = found.config | {"timm_model_name": name}
    image, _ = timm_convnext.read_image(found.tensors, config)
    assert image.norm_epsilon == epsilon


def test_only_the_name_has_a_place(tmp_path):
  """timm takes a path as it is given; here none is needed to read it."""
  found, model = _siglip()
  written = _written(model)
  placed = timm_trunk.place(written, pathlib.Path(tmp_path / "a" / ".." / "b"))
  vision = placed["model_cfg"]["vision_cfg"]
  assert vision["timm_model_name"] == f"local-dir:{tmp_path / 'b' / 'timm'}"
  placed["model_cfg"]["vision_cfg"] = written["model_cfg"]["vision_cfg"]
  assert placed == written
  for name in ("local-dir:/moved/away/timm", "hf-hub:owner/name"):
    vision["timm_model_name"] = name
    placed["model_cfg"]["vision_cfg"] = vision
    again = open_clip.read_model(dataclasses.replace(found, config=placed))
    assert again == model


def test_the_text_tower_alone_may_have_quick_gelu():
  found, model = _siglip()
  text = dataclasses.replace(model.text, activation="quick_gelu")
  model = dataclasses.replace(model, text=text)
  config = _written(model)
  assert config["model_cfg"]["quick_gelu"]
  again = open_clip.read_model(dataclasses.replace(found, config=config))
  assert again == model


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"norm_epsilon": 1e-5}, "norm_epsilon: expected 1e-06; got 1e-05"),
    ({"projection": True}, "projection: expected False; got True"),
    ({"position": "sincos"}, "position: expected 'learned'"),
    ({"activation": "quick_gelu"}, "activation: expected 'gelu' or"),
  ],
)
def test_what_timm_has_no_argument_for_is_named(fields, message):
  _, model = _siglip(**fields)
  with pytest.raises(ValueError, match=f"cannot express.*\n.*image.{message}"):
    open_clip.write_config(model)


def test_mistakes_in_a_description():
  found, _ = _siglip()

  def read(vision=(), described=None):
    model_cfg = found.config["model_cfg"]
    vision_cfg = model_cfg["vision_cfg"] | dict(vision)
    config = found.config | {
      "model_cfg": model_cfg | {"vision_cfg": vision_cfg}
    }
    config[timm_trunk.KEY] = described or config[timm_trunk.KEY]
    if described == {}:
      del config[timm_trunk.KEY]
    return open_clip.read_model(dataclasses.replace(found, config=config))

  args = found.config[timm_trunk.KEY]["model_args"]
  for given, message in (
    ({"described": {}}, "timm_cfg .as --task=export writes it.; got 'local-di"),
    ({"described": {"model_args": args | {"qk_norm": 1}}}, "got .*, qk_norm"),
    (
      {"described": {"model_args": args | {"act_layer": "relu"}}},
      "timm_cfg: act_layer must be one of 'gelu', 'gelu_tanh'; got 'relu'",
    ),
    (
      {"vision": {"timm_model_name": "vit_x"}, "described": {}},
      "one of .*; got 'vit_x'",
    ),
    (
      {"vision": {"timm_model_name": None}, "described": {}},
      "timm_model_name must be one of",
    ),
    ({"vision": {"timm_pool": "avg"}}, "timm_pool must be one of 'map'"),
    ({"vision": {"timm_proj": "linear"}}, "timm_proj must be one of 'none'"),
  ):
    with pytest.raises(ValueError, match=message):
      read(**given)
