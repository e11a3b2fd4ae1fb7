"""METER's recipes build, in the sizes that their docstring says."""

import jax
import numpy as np
import pytest

from configs import meter
from input_pipeline.fusing import fused_data
from training import config as config_lib
from training import objectives
from training.fused import run

_VARIANTS = (*meter.VARIANTS, *meter._MINIS)


def _config(variant: str) -> config_lib.Config:
  return config_lib.checked(meter.get_config(variant).to_dict())


@pytest.mark.parametrize("variant", _VARIANTS)
def test_variants_build(variant: str):
  config = _config(variant)
  params = jax.eval_shape(
    objectives.make(config).init_params, jax.random.key(0)
  )
  assert {"img", "txt", "fusion", "heads"} == set(params)
  if variant.startswith("mini"):
    return
  run.check_tests(config)
  assert config.data.image_size == 384
  sizes = {
    name: sum(np.prod(x.shape) for x in jax.tree.leaves(params[name]))
    for name in ("img", "txt")
  }
  # CoSwin-H without its projection, and BERT-base without its pooler.
  assert sizes["img"] == pytest.approx(634e6, rel=0.01)
  assert sizes["txt"] == 109_482_240 - (768 * 768 + 768)


def test_vqa_reads_its_layout():
  config = _config("florence_vqa")
  fused_data.check(config.fusion, config.data)
  assert config.fusion.num_answers == 3_129
  assert config.total_steps == 10 * 443_757 // 1024


def test_a_variant_that_is_not_there():
  with pytest.raises(ValueError, match="florence_vqa"):
    meter.get_config("vqa")
