"""NaFlex's phase of SigLIP 2: its steps, lengths and schedule."""

import pytest

from configs import siglip2
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import patch_programs
from training.phases import switching


@pytest.mark.parametrize("name", siglip2.FULL_NAFLEX)
def test_naflex_begins_at_90_percent_and_stretches_the_rest(name):
  config = config_lib.checked(siglip2.get_config(name).to_dict())
  squares, lengths = config_lib.stages(config)
  plain = siglip2.get_config("b16_256").total_steps
  assert squares.end == round(0.9 * plain)
  assert lengths.end == config.total_steps
  num_steps = lengths.end - squares.end
  assert num_steps == pytest.approx(0.1 * plain * 3.75, rel=1e-4)
  # The schedule is as long as that of a run without NaFlex.
  assert lengths.span.num_steps == pytest.approx(plain, abs=1)
  assert squares.span == lengths.span
  assert not squares.config.data.augmentation.is_naflex
  augmentation = lengths.config.data.augmentation
  assert augmentation.counts == (128, 256, 576, 784, 1024)
  assert augmentation.max_num_patches == 256, "evaluations keep it"
  updates = [
    patch_programs.of_count(lengths.config, count).num_largest_updates
    for count in augmentation.counts
  ]
  assert updates == [1, 1, 1, 1, 2]
  for stage in (squares, lengths):
    assert stage.config.decoding.weight == 1
    assert not stage.config.distillation.is_on
    assert stage.config.model.image.tower == "naflex"


@pytest.mark.slow
def test_the_switch_to_naflex_changes_no_parameter():
  config = siglip2.get_config("full_naflex_b16")
  config.mesh.update(data=1, fsdp=8)
  config = config_lib.checked(config.to_dict())
  switching.check(config, mesh_lib.make_mesh(config.mesh))
