"""Variants of ClipBERT's miniature are accepted by --task=fuse."""

import pytest

from experiments.clipbert import config as mini
from input_pipeline.fusing import fused_data
from training import config as config_lib
from training.fused import run


@pytest.mark.parametrize("variant", ["pretraining", *mini.VARIANTS])
def test_a_variant_has_what_its_task_reads(variant):
  config = config_lib.checked(mini.get_config(variant).to_dict())
  fused_data.check(config.fusion, config.data)
  run.check_tests(config)
  assert config.fusion.mask_id not in config.fusion.kept_ids


def test_ablations_take_one_part_away():
  assert mini.get_config("no_negatives").fusion.num_negatives == 0
  for variant, pattern in (("frozen_cnn", "cnn/.*"), ("no_head", "answers/.*")):
    freeze = mini.get_config(variant).optimizer.freeze
    assert freeze[0] == (pattern, True)
