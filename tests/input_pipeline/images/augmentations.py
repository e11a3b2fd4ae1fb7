"""Sections `data.augmentation` for tests: the defaults and some changes."""

from typing import Any

from configs import base
from input_pipeline.images import augmentation
from training import config as config_lib


def make(**fields: Any) -> augmentation.Augmentation:
  """Return the section, not checked."""
  config = base.get_config()
  config.data.augmentation.update(fields)
  return config_lib.from_mapping(config.to_dict()).data.augmentation
