"""Florence's phases, as the paper has them."""

import pytest

from configs import florence
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import schedule
from training.phases import switching


@pytest.fixture(scope="module")
def stages():
  config = florence.get_config("vit_h16")
  return config_lib.stages(config_lib.checked(config.to_dict()))


def test_steps_batches_and_sizes_are_the_papers(stages):
  assert [x.end - x.first_step for x in stages] == [1_000_000, 180_000, 80_000]
  for stage, size in zip(stages, (224, 224, 384), strict=True):
    assert stage.config.batch_size == 24_576
    assert stage.config.model.image.image_size == size
    assert stage.config.loss.name == "unicl"
    assert stage.config.loss.scope == "global"


def test_prompted_texts_are_of_the_first_phase_alone(stages):
  left_out = [stage.config.data.leave_out for stage in stages]
  assert left_out == [(), ("augmented",), ("augmented",)]
  source = stages[0].config.data.sources["main"]
  assert len(source.short_templates) == 80
  assert source.short_words == 2
  assert all(x.count("{}") == 1 for x in source.short_templates)


def test_each_phase_has_a_schedule_that_ends_with_it(stages):
  for stage in stages:
    num_steps = stage.end - stage.first_step
    assert stage.span == schedule.Span(stage.first_step, num_steps)


def test_the_miniature_can_be_switched():
  config = config_lib.checked(florence.get_config("mini").to_dict())
  assert [x.end for x in config_lib.stages(config)] == [60, 80, 100]
  switching.check(config, mesh_lib.make_mesh(config.mesh))
