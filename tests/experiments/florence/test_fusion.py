"""METER's miniature: what is asked of a picture is to be seen in it."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.clipbert import scenes
from experiments.florence.fusion import config as mini
from experiments.florence.fusion import prepare
from input_pipeline.fusing import fused_data
from tests.experiments.clipbert import test_prepare
from training import config as config_lib
from training.fused import run


@pytest.mark.parametrize("variant", mini.VARIANTS)
def test_a_variant_is_accepted(variant):
  config = config_lib.checked(mini.get_config(variant).to_dict())
  if variant == "towers":
    assert config.loss.name == "unicl"
  else:
    fused_data.check(config.fusion, config.data)
    run.check_tests(config)
    towers = mini.get_config("towers").model
    assert mini.get_config(variant).model.image == towers.image


def test_answers_are_to_be_seen(tmp_path):
  photos = {split: [test_prepare.GREY] for split in ("train", "test")}
  counts = prepare.make(
    test_prepare.DRAWN, photos, tmp_path, {"train": 4, "test": 2}
  )
  assert counts == {"train": 12, "test": 6}
  lines = (tmp_path / "train_questions.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [x["answer_type"] for x in rows[:3]] == ["what", "which", "how"]
  for first in range(0, 12, 3):
    what, which, how = rows[first : first + 3]
    color = which["answer"]
    assert what["question"] == f"what is {color}"
    assert which["question"] == f"which color is the {what['answer']}"
    pixels = np.asarray(Image.open(tmp_path / how["image"])).reshape(-1, 3)
    shown = Image.new("RGB", (1, 1), scenes.COLORS[color]).getpixel((0, 0))
    number = int((pixels == shown).all(1).sum())
    icons = 1 + scenes.COUNTS.index(how["answer"])
    assert number in {icons * side**2 for side in range(22, 27)}
