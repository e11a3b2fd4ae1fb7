"""SigLIP 2's recipe: losses, weights and sizes of its phases."""

import jax
import pytest
from jax import P

from configs import siglip2
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import train_step
from training.curating import teacher as teacher_lib
from training.run import workdir

# k of the paper's section 2.3, by size.
_FACTORS = {"b16": 0.25, "l16": 0.5, "so400m16": 1.0, "so400m14": 1.0}
_FACTORS |= {"gopt16": 0.5}


def _checked(name, **changes):
  values = siglip2.get_config(name)
  if not name.startswith("mini"):
    values.data.sources.main.path = "{00000..00001}.tar"
  values.update_from_flattened_dict(changes)
  return config_lib.checked(values.to_dict())


@pytest.mark.parametrize("name", siglip2.FULL)
def test_phases_of_all_losses(name):
  config = _checked(name)
  first, second, last = config_lib.stages(config)
  total = config.total_steps
  assert second.first_step == round(0.8 * total)
  assert last.first_step == round(0.95 * total)
  assert first.config.decoding.weight == last.config.decoding.weight == 1
  assert not first.config.distillation.is_on
  _, size, pixels = name.split("_")
  for stage in (second, last):
    distillation = stage.config.distillation
    assert distillation.consistency_weight == _FACTORS[size]
    assert distillation.masked_weight == _FACTORS[size] / 4
    assert distillation.first_step == second.first_step
    assert stage.config.data.views.num_local == 8
  assert first.config.data.image_size == 256
  # 384 is no multiple of 14.
  expected = {"384": 378 if size.endswith("14") else 384, "256": 256}[pixels]
  assert last.config.data.image_size == expected
  text, decoder = config.model.text, config.decoding.decoder
  assert text is not None
  assert decoder.depth == text.depth // 2
  assert decoder.width == text.width


def test_heads_and_teacher_are_split_as_the_model_is():
  config = _checked("full_b16_256", **{"mesh.data": 2, "mesh.fsdp": 4})
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:8])
  stage = config_lib.stages(config)[1]
  state = train_step.make(stage.config, mesh, span=stage.span).state
  for tree in (state.params, state.ema):
    kernel = tree["distilling"]["views"]["kernel"]
    assert kernel.sharding.spec == P("tensor", "fsdp")
    up = tree["img"]["blocks"]["mlp"]["up"]["kernel"]
    assert up.sharding.spec == P(None, "fsdp", "tensor")
  words = state.params["decoder"]["words"]
  assert words.sharding.spec == P("tensor", "fsdp")


def test_the_mini_has_all_phases():
  stages = config_lib.stages(_checked("mini_full"))
  assert [x.config.distillation.is_on for x in stages] == [False, True, True]
  assert [x.config.data.image_size for x in stages] == [32, 32, 48]


@pytest.mark.parametrize(
  ("name", "num_rows"), [("acid_b16_256", 65_536), ("acid_b32_256", 131_072)]
)
def test_acid_draws_32k_rows_under_a_larger_teacher(name, num_rows, tmp_path):
  """The teacher's description is enough; its parameters are split too."""
  teacher = _checked("so400m16_256")
  (tmp_path / "checkpoints").mkdir()
  workdir.write_config(tmp_path, teacher)
  mesh_fields = {"mesh.data": 2, "mesh.fsdp": 4}
  config = _checked(name, **{"curating.teacher": str(tmp_path)}, **mesh_fields)
  assert (config.batch_size, config.num_rows_read) == (32_768, num_rows)
  assert config.total_steps == round(4e9 / 32_768)
  made = config.optimizer
  assert (made.learning_rate, made.weight_decay) == (1e-5, 0)
  teacher_lib.check(config)
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:8])
  shapes = teacher_lib.abstract(teacher_lib.find(config), config, mesh)
  assert shapes["txt"]["token_embedding"].sharding.spec == P("tensor", "fsdp")
  whole = [x.size for x in jax.tree.leaves(shapes)]
  assert sum(whole) == siglip2.VARIANTS["so400m16_256"].num_parameters


def test_the_mini_of_acid_draws_half():
  config = _checked("mini_acid", **{"curating.teacher": "runs/teacher"})
  assert (config.batch_size, config.num_rows_read) == (64, 128)
