"""Miniature of SigLIP 2: its pictures, masks, captions and configs."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.siglip2 import config as config_file
from experiments.siglip2 import prepare
from tests.experiments.parts import test_placed_icons as placed
from training import config as config_lib
from training import gradient_norms


def test_rows_name_what_is_in_their_pictures(tmp_path):
  icons = {
    False: {name: [placed.icon(name, "#f00")] for name in prepare.NAMES},
    True: {name: [placed.icon(name, "#0f0")] for name in prepare.NAMES},
  }
  photos = {
    False: [np.zeros((140, 140, 3), np.uint8)],
    True: [np.full((140, 140, 3), (0, 0, 255), np.uint8)],
  }
  sizes = {"train": 6, "test": 5, "probe": 4, "styles": 3}
  prepare.make(icons, photos, tmp_path, sizes)
  rows = {
    name: [
      json.loads(x)
      for x in (tmp_path / f"{name}.jsonl").read_text().splitlines()
    ]
    for name in sizes
  }
  assert {name: len(x) for name, x in rows.items()} == sizes
  first = ("airplane", "banana")
  assert sorted(rows["test"][0]["texts"]) == sorted(first)
  for name in ("train", "test", "probe"):
    for row in rows[name]:
      assert row["caption"] == " and ".join(f"a {x}" for x in row["texts"])
      pixels = np.asarray(Image.open(tmp_path / row["image"]))
      assert pixels.shape == (prepare.SIZE, prepare.SIZE, 3)
      assert (pixels[..., 2].max() > 200) == (name == "test")
      for left, top, right, bottom in (
        np.array(row["boxes"]).round().astype(int)
      ):
        assert pixels[top + 2 : bottom - 2, left + 2 : right - 2, 0].min() > 150
      if name == "train":
        assert "mask" not in row
        continue
      mask = np.asarray(Image.open(tmp_path / row["mask"]))
      classes = {0, *(1 + prepare.NAMES.index(x) for x in row["texts"])}
      assert {*np.unique(mask).tolist()} == classes
      np.testing.assert_allclose(
        (mask > 0).mean(), (pixels[..., 0] > 127).mean(), atol=0.03
      )
  for row in rows["styles"]:
    assert row["label"] in prepare.NAMES
    assert np.asarray(Image.open(tmp_path / row["image"]))[..., 1].max() > 200
  described = json.loads((tmp_path / "dense.json").read_text())
  assert described["classes"] == ["background", *prepare.NAMES]


def test_a_faded_photograph_has_less_contrast():
  photo = np.array([[[0, 128, 255]]], np.uint8)
  np.testing.assert_array_equal(prepare.fade(photo), [[[83, 128, 172]]])


@pytest.mark.parametrize("variant", config_file.VARIANTS)
def test_each_variant_adds_a_loss(variant):
  config = config_lib.from_mapping(config_file.get_config(variant).to_dict())
  gradient_norms.check(config)
  last = config_lib.stages(config)[-1].config
  number = config_file.VARIANTS.index(variant)
  assert last.decoding.is_on == (number > 0)
  assert bool(last.distillation.consistency_weight) == (number > 1)
  assert bool(last.distillation.masked_weight) == (number > 2)
  assert last.total_steps == config_lib.stages(config)[0].config.total_steps
