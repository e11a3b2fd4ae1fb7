"""Sections and values that rows cannot be drawn with are refused by name."""

import pytest

from configs.parts import phases
from tests import tiny_curating, tiny_joint
from training import config as config_lib


def _refused(message, values, **changes):
  values.curating.teacher = "runs/teacher"
  values.curating.filter_ratio = 0.5
  values.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    config_lib.checked(values.to_dict())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"curating.teacher": ""}, "curating.teacher must be the folder"),
    ({"curating.filter_ratio": 1.0}, r"filter_ratio must be in \[0, 1\)"),
    ({"curating.filter_ratio": -0.5}, r"filter_ratio must be in \[0, 1\)"),
    ({"curating.filter_ratio": 0.3}, r"got 8 / \(1 - 0.3\) = 11.43"),
    ({"curating.filter_ratio": 0.0}, "filter_ratio must be above 0 with"),
    ({"curating.num_blocks": 0}, "num_blocks must be at least 1"),
    ({"curating.num_blocks": 3}, "multiple of curating.num_blocks=3"),
    ({"loss.name": "softmax"}, "loss.name must be 'sigmoid'"),
    ({"loss.scope": "device"}, "loss.scope must be 'global'"),
  ],
)
def test_values(changes, message):
  _refused(message, tiny_curating.get_config(), **changes)


@pytest.mark.parametrize("name", ["decoder", "masked"])
def test_further_losses(name):
  section = {"decoder": "decoding", "masked": "distillation"}[name]
  _refused(
    f"config.{section} must have no weight with curating",
    tiny_joint.get_config(name),
    **{"curating.num_blocks": 4},
  )


def test_naflex():
  values = tiny_curating.get_config()
  _refused(
    "data.augmentation.resize must not be 'naflex'",
    values,
    **{"data.augmentation.resize": "naflex"},
  )


@pytest.mark.parametrize(
  ("ratio", "batch_size", "rows"),
  [(0.0, 8, 8), (0.5, 32_768, 65_536), (0.75, 32_768, 131_072), (0.8, 8, 40)],
)
def test_rows_that_are_read(ratio, batch_size, rows):
  values = tiny_curating.get_config()
  values.batch_size = batch_size
  values.curating.filter_ratio = ratio
  values.curating.teacher = "runs/teacher" if ratio else ""
  config = config_lib.checked(values.to_dict())
  assert config.num_rows_read == rows


def test_positions_of_phases_count_the_rows_that_are_read():
  values = tiny_curating.get_config()
  values.curating.filter_ratio = 0.0
  curating = {"filter_ratio": 0.5, "teacher": "runs/teacher"}
  phases.set_phases(
    values,
    phases.Phase("all", 3),
    phases.Phase("drawn", 3, {"curating": curating}),
    phases.Phase(
      "again", 2, {"curating": {"filter_ratio": 0.0, "teacher": ""}}
    ),
  )
  stages = config_lib.stages(config_lib.checked(values.to_dict()))
  # 24 rows of 8 are 1.5 batches of 16; 5 of these are 10 of 8.
  assert [x.first_batch for x in stages] == [0, 2, 10]
