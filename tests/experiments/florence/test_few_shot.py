"""Digits of CD-FSL's miniature: ink is dark, and names are their numbers."""

import json

import numpy as np
from PIL import Image

from experiments.florence.few_shot import config as config_file
from experiments.florence.few_shot import prepare
from training import config as config_lib


def test_digits_are_dark_on_white(tmp_path):
  ink = np.zeros((2, 8, 8))
  ink[1, :, :4] = 16
  assert prepare.make(ink, np.array([3, 7]), tmp_path) == 2
  lines = (tmp_path / "digits.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row["label"] for row in rows] == ["digit 3", "digit 7"]
  first, second = (np.asarray(Image.open(tmp_path / x["image"])) for x in rows)
  assert first.shape == (prepare.SIZE, prepare.SIZE, 3)
  assert (first == 255).all()
  assert second[:, :24].max() == 0
  assert second[:, 40:].min() == 255


def test_the_config_can_be_made():
  sets = config_lib.checked(config_file.get_config().to_dict()).evaluate.sets
  assert {*sets} == {"digits", "micrographs"}
