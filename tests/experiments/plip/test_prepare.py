"""Parts of micrographs of PLIP's miniature."""

import json

import numpy as np
import pytest

from experiments.plip import prepare
from input_pipeline.storage import uids


@pytest.mark.parametrize(
  ("name", "colour", "label"),
  [
    ("colon", (150, 100, 60), "dense glands with brown stain"),
    ("colon", (150, 150, 200), "blue nuclei"),
    ("colon", (240, 240, 240), None),
    ("retina", (200, 80, 60), "a retina"),
    ("retina", (0, 0, 0), None),
    ("retina", (250, 200, 120), None),
    ("cell", (9, 9, 9), None),
  ],
)
def test_labels_follow_from_colours(name, colour, label):
  pixels = np.full((64, 64, 3), colour, np.uint8)
  assert prepare.label_of(pixels, name) == label


def test_no_pixel_is_in_both_splits(tmp_path):
  rng = np.random.default_rng(0)
  cell = rng.integers(0, 255, (300, 80, 3)).astype(np.uint8)
  counts = prepare.make({"cell": cell}, tmp_path)
  assert set(counts) == {"train", "test"}
  seen = {}
  for split in counts:
    lines = (tmp_path / f"{split}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == counts[split]["a single cell"]
    assert all((tmp_path / row["image"]).exists() for row in rows)
    assert rows[0]["caption"] == "a micrograph of a single cell"
    tops = [int(row["key"][:-4].split("_")[-1]) for row in rows]
    seen[split] = {y for top in tops for y in range(top, top + prepare.SIDE)}
  assert not seen["train"] & seen["test"]
  half, every = (np.load(tmp_path / f"subset_{x}.npy") for x in (50, 100))
  assert half.dtype == uids.UID
  assert len(every) == counts["train"]["a single cell"]
  assert set(half.tolist()) < set(every.tolist())
