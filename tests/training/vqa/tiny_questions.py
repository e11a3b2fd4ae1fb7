"""Config of a run that answers the questions of fixture.py, in seconds."""

import pathlib
from typing import Any

from tests import runs
from training import config as config_lib


def make_config(folder: pathlib.Path, **changes: Any) -> config_lib.Config:
  """Return the checked config of a set; names of changes have "__" for "."."""
  values = {
    "batch_size": 4,
    "evaluate.sets": {},
    "evaluate.batch_size": 4,
    "checkpoint.every_steps": 1,
    "partition_rules": ((r".*", ()),),
    "model.image.depth": 1,
    "data.image_protocol": "clip_squash",
    "vqa.layout": "vqa_rad",
    "vqa.path": str(folder),
    "vqa.validation_share": 0.3,
    "vqa.num_epochs": 2,
    "vqa.model.kind": "qcr",
    "vqa.model.recurrent": "gru",
    "vqa.model.width": 16,
    "vqa.model.word_width": 4,
    "vqa.model.rank": 2,
    "vqa.model.autoencoder_size": 8,
  }
  values |= {name.replace("__", "."): x for name, x in changes.items()}
  return runs.make_config(values)
