"""Every variant builds, has the published number of parameters, and rules."""

import functools
import types

import jax
import pytest

from configs import (
  align,
  clip,
  dfn,
  florence,
  lit,
  metaclip,
  openclip,
  siglip,
  siglip2,
  unicl,
)
from models import dual_encoder
from runtime import mesh as mesh_lib
from runtime import param_rules
from training import config as config_lib
from training import train_state, train_step

_MODULES = (
  *(align, clip, dfn, florence, lit, metaclip, openclip, siglip, siglip2),
  unicl,
)
_ALL = [
  pytest.param(module, name, id=f"{module.__name__.split('.')[-1]}-{name}")
  for module in _MODULES
  for name in module.VARIANT_NAMES
]


def _config(module: types.ModuleType, name: str, **mesh: int):
  config = module.get_config(name)
  config.mesh.update(mesh)
  return config_lib.checked(config.to_dict())


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), _ALL)
def test_full_size(module, name):
  config = _config(module, name, data=1, fsdp=8)
  program = train_step.make(config, mesh_lib.make_mesh(config.mesh))
  variant = module.VARIANTS.get(name)
  if getattr(variant, "num_parameters", None) is not None:
    count = train_state.count_params(program.state.params)
    # Softmax models are published without the bias that ours always has.
    count -= config.loss.name != "sigmoid"
    assert count == variant.num_parameters
  # Rules that match nothing, and parameters without one, are errors of `make`.
  split = sum(
    x.size
    for x in jax.tree.leaves(program.state.params)
    if not x.sharding.is_fully_replicated
  )
  whole = train_state.count_params(program.state.params)
  if name != "mini":
    assert split > 0.9 * whole, "most parameters are to be split over fsdp=8"


@pytest.mark.parametrize("module", _MODULES)
def test_an_unknown_variant(module):
  file = module.__name__.split(".")[-1]
  with pytest.raises(
    ValueError, match=rf"configs/{file}\.py:VARIANT .*mini; got 'b17'"
  ):
    module.get_config("b17")


def test_the_decay_of_siglip_is_big_visions():
  config = _config(siglip, "b16").optimizer
  assert config.weight_decay_convention == "schedule"
  assert (config.learning_rate, config.weight_decay) == (1e-3, 1e-4)


def test_what_does_not_decay_in_clip():
  config = _config(clip, "vit_b32")
  params = jax.eval_shape(
    functools.partial(dual_encoder.init_params, config.model),
    jax.random.key(0),
  )
  decays = param_rules.values(
    param_rules.apply(config.optimizer.weight_decay_mults, params, "decay")
  )
  count = sum(
    x.size
    for x, mult in zip(
      jax.tree.leaves(params), jax.tree.leaves(decays), strict=True
    )
    if not mult
  )
  # Parameters that open_clip 3.3.0 does not decay, and our bias.
  assert count == 204_545 + 1


@pytest.mark.parametrize(
  ("module", "name", "fields"),
  [
    (clip, "vit_b32", {"resize": "shortest", "random_crop": True}),
    (openclip, "vit_b32", {"resize": "area", "crop_scale": (0.9, 1.0)}),
    (openclip, "convnext_large_d", {"crop_scale": (0.33, 1.0)}),
    (metaclip, "vit_b32", {"resize": "area", "crop_scale": (0.9, 1.0)}),
    (dfn, "filter", {"resize": "area", "crop_scale": (0.9, 1.0)}),
    (siglip, "b16", {"resize": "squash", "resize_size": 0}),
    (siglip2, "b16", {"resize": "squash", "flip_probability": 0.0}),
    (siglip2, "naflex_b16", {"resize": "naflex", "patch_size": 16}),
    (align, "b7_base", {"resize": "squash", "resize_size": 346}),
    (lit, "coco_b16_base", {"randaug_layers": 2, "randaug_magnitude": 10.0}),
  ],
  ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_done_to_images(module, name, fields):
  data = _config(module, name).data
  for field, value in fields.items():
    assert getattr(data.augmentation, field) == value, field
  # Where the pairs are is the user's to say, by one flag.
  assert data.sources.keys() == {"main"}
  assert data.sources["main"].format == "webdataset"
  assert data.sources["main"].path == ""


@pytest.mark.parametrize("module", _MODULES)
def test_drawings_are_cut_to_squares(module):
  augmentation = _config(module, "mini").data.augmentation
  if augmentation.is_naflex:
    assert augmentation.max_num_patches == 20
    return
  assert augmentation.resize == "square"
  assert augmentation.crop_scale == (0.8, 1.2)
