"""Batches that an objective of pairs has no model for."""

import pytest

from tests.input_pipeline.regions import fixture
from training import config as config_lib
from training.objectives import pairs


def test_targets_of_a_decoder_are_refused(tmp_path):
  values = fixture.values(tmp_path / "rows.jsonl", num_tokens=16)
  config = config_lib.from_mapping(values.to_dict())
  with pytest.raises(ValueError, match=r"num_tokens needs config\.decoding"):
    pairs.shapes(config)


@pytest.mark.parametrize(
  ("section", "layout"), [("vqa", "vqa_rad"), ("detection", "coco")]
)
def test_other_runs_have_no_decoder_either(tmp_path, section, layout):
  values = fixture.values(tmp_path / "rows.jsonl", num_tokens=16)
  values[section].layout = layout
  expected = "data.regions.num_tokens must be 0 with decoding.weight=0"
  with pytest.raises(ValueError, match=expected):
    config_lib.checked(values.to_dict())
