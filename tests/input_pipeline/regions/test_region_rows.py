"""Rows with regions: tasks by probability, crops, fallbacks and counts."""

import collections
import dataclasses
import functools
import json

import numpy as np
import pytest
from PIL import Image

from input_pipeline import faults, tokenizers
from input_pipeline.images import augmentation
from input_pipeline.regions import box_tokens, region_rows, region_targets
from input_pipeline.sources import record as record_lib
from input_pipeline.tokenizers import bytes as bytes_lib
from tests.input_pipeline.images import augmentations, encoded

PNG = encoded.by_pillow(Image.fromarray(np.zeros((40, 80, 3), np.uint8)), "PNG")
CONFIG = region_targets.RegionsConfig(num_tokens=24, num_bins=101)
DOG = record_lib.Region((0.0, 0.0, 40.0, 20.0), "dog")
CAT = record_lib.Region((60.0, 30.0, 80.0, 40.0), "cat")
NONE = dict.fromkeys(region_rows.COUNTED, 0)


@functools.cache
def _tokenizer() -> tokenizers.Tokenizer:
  return bytes_lib.make_tokenizer(
    lambda: [], None, languages=(), vocab_size=300, num_tokens=16, path=""
  )


@functools.cache
def _rows(**fields) -> region_rows.Rows:
  config = dataclasses.replace(CONFIG, **fields)
  config.check()
  rows = region_rows.make(config, _tokenizer(), 300)
  assert rows is not None
  return rows


@functools.cache  # a section takes milliseconds to make
def _augmented(seed: int = 0, **fields) -> augmentation.Augmented:
  fields = {"resize": "squash", **fields}
  rng = np.random.default_rng(seed)
  return augmentations.make(**fields).apply_with_moves(PNG, 20, rng)


def _arrays(rows, regions, image=None, seed=0, **options):
  rng = np.random.default_rng(seed)
  image = image or _augmented()
  return rows.arrays(regions, image, "a field", rng, **options)


def _counts(row) -> dict[str, int]:
  return dict(
    zip(region_rows.COUNTED, row[region_rows.COUNTS].tolist(), strict=True)
  )


def _text(row) -> str:
  ids = [x for x in row["decoder_targets"].tolist() if 1 < x < 300]
  return _tokenizer().decode(ids)


def test_shapes_are_those_of_the_section():
  for tasks in region_targets.DRAWS:
    rows = _rows(tasks=tasks)
    row = _arrays(rows, [DOG])
    del row[region_rows.COUNTS]
    got = {name: (array.shape, array.dtype) for name, array in row.items()}
    assert got == {
      name: (shape, np.dtype(dtype))
      for name, (shape, dtype) in rows.config.shapes().items()
    }


def test_tasks_come_as_often_as_they_should():
  shares = (0.5, 0.3, 0.2)
  rows = _rows(probabilities=shares)
  tasks = collections.Counter(
    int(_arrays(rows, [DOG], seed=seed)["decoder_tasks"]) for seed in range(500)
  )
  for task, share in enumerate(shares):
    # Five standard deviations of a binomial count.
    spread = 5 * (500 * share * (1 - share)) ** 0.5
    assert abs(tasks[task] - 500 * share) < spread


@pytest.mark.parametrize("task", range(3))
def test_a_probability_of_1_or_0_is_exact(task):
  shares = tuple(float(i == task) for i in range(3))
  rows = _rows(probabilities=shares)
  for seed in range(50):
    row = _arrays(rows, [DOG, CAT], seed=seed)
    assert row["decoder_tasks"] == task


def test_boxes_are_those_of_the_resized_image():
  rows = _rows(probabilities=(0.0, 1.0, 0.0))
  row = _arrays(rows, [DOG])
  # y0 x0 y1 x1 of 0, 0, half of the height and half of the width.
  box = [300, 300, 350, 350]
  ids = _tokenizer().ids("dog")
  assert row["decoder_targets"][: len(ids) + 5].tolist() == [*ids, *box, 1]
  assert _counts(row) == NONE | {"rows": 1, "regions": 1}


def test_boxes_follow_the_mirror():
  rows = _rows(probabilities=(0.0, 0.0, 1.0))
  image = _augmented(flip_probability=1.0)
  row = _arrays(rows, [CAT], image)
  assert row["decoder_targets"][:4].tolist() == [375, 300, 400, 325]
  assert _text(row) == "cat"


def test_shares_and_pixels_are_the_same_box():
  share = record_lib.Region((0.0, 0.0, 0.5, 0.5), "dog", is_share=True)
  rows = _rows(probabilities=(0.0, 1.0, 0.0))
  one, other = _arrays(rows, [DOG]), _arrays(rows, [share])
  for name in one:
    np.testing.assert_array_equal(one[name], other[name])


def test_a_region_that_the_crop_lost_is_replaced_by_another():
  """A centre crop of the left half shows the dog, never the cat."""
  rows = _rows(probabilities=(0.0, 0.0, 1.0))
  image = _augmented(resize="shortest", random_crop=False)
  # The square shows columns 20 to 60: half of the dog, none of the cat.
  texts = set()
  for seed in range(20):
    row = _arrays(rows, [CAT, DOG], image, seed=seed)
    texts.add(_text(row))
    counts = _counts(row)
    assert counts == NONE | {"rows": 1, "regions": 2, "regions_outside": 1}
  assert texts == {"dog"}
  row = _arrays(rows, [CAT], image)
  assert row["decoder_tasks"] == 0
  assert _text(row) == "a field"
  assert _counts(row)["none_visible"] == 1
  strict = _rows(probabilities=(0.0, 0.0, 1.0), least_visible=0.51)
  assert _counts(_arrays(strict, [DOG], image))["none_visible"] == 1


def test_an_image_without_a_region_has_its_caption():
  rows = _rows(probabilities=(0.0, 0.5, 0.5))
  row = _arrays(rows, [])
  assert row["decoder_tasks"] == 0
  assert _text(row) == "a field"
  assert _counts(row) == NONE | {"rows": 1, "no_region": 1}
  captions = _rows(probabilities=(1.0, 0.0, 0.0))
  assert _counts(_arrays(captions, []))["no_region"] == 0


def test_all_tasks_of_an_image():
  rows = _rows(tasks="all")
  row = _arrays(rows, [DOG])
  assert row["decoder_tasks"].tolist() == [0, 1, 2]
  for place, task in enumerate(box_tokens.TASKS):
    alone = tuple(float(task == x) for x in box_tokens.TASKS)
    one = _arrays(_rows(probabilities=alone), [DOG])
    for name in ("decoder_tokens", "decoder_targets", "decoder_weights"):
      np.testing.assert_array_equal(row[name][place], one[name])
  row = _arrays(rows, [])
  assert row["decoder_tasks"].tolist() == [0, 1, 2]
  assert (row["decoder_weights"][1:] == 0).all()
  assert row["decoder_weights"][0].sum() == len("a field") + 1
  assert _counts(row)["no_region"] == 1


@pytest.mark.parametrize(
  ("region", "kind", "expected"),
  [
    (((0.0, 0.0, np.nan, 1.0), "a"), "box_broken", "finite"),
    (((3.0, 0.0, 3.0, 1.0), "a"), "box_broken", "some area"),
    (((80.0, 0.0, 99.0, 1.0), "a"), "box_broken", "picture of 80 x 40"),
    (((0.0, 0.0, 9.0, 9.0), " "), "caption_missing", "no text"),
  ],
)
def test_a_region_that_cannot_be_used(region, kind, expected):
  broken = record_lib.Region(*region)
  with pytest.raises(faults.ExampleError, match=f"region 1.*{expected}") as got:
    _arrays(_rows(), [DOG, broken])
  assert got.value.kind == kind
  rows = _rows(broken="skip", probabilities=(0.0, 0.0, 1.0))
  row = _arrays(rows, [broken, DOG])
  assert _text(row) == "dog"
  assert _counts(row) == NONE | {"rows": 1, "regions": 2, "regions_broken": 1}


def test_boxes_that_reach_out_are_cut_and_counted():
  out = record_lib.Region((60.0, 20.0, 99.0, 40.0), "cat")
  rows = _rows(probabilities=(0.0, 0.0, 1.0))
  row = _arrays(rows, [out])
  assert row["decoder_targets"][:4].tolist() == [350, 375, 400, 400]
  assert _counts(row)["boxes_cut"] == 1


def test_long_texts_are_counted():
  long = record_lib.Region(DOG.box, "a dog of very many words")
  rows = _rows(probabilities=(0.0, 0.0, 1.0))
  assert _counts(_arrays(rows, [long]))["texts_cut"] == 1


def test_regions_for_people():
  rows = _rows(probabilities=(0.0, 1.0, 0.0))
  row = _arrays(rows, [DOG, CAT], with_metadata=True)
  shown = json.loads(row["regions"])
  np.testing.assert_allclose(
    shown["boxes"], [[0, 0, 0.5, 0.5], [0.75, 0.75, 1, 1]]
  )
  assert shown["texts"] == ["dog", "cat"]
  assert _text(row) == shown["texts"][shown["chosen"]]
  row = _arrays(_rows(probabilities=(1.0, 0.0, 0.0)), [], with_metadata=True)
  assert json.loads(row["regions"])["chosen"] is None


def test_a_tokenizer_without_an_end_is_refused():
  made = _tokenizer()
  rule = dataclasses.replace(made.rule, eos_id=None)
  without = dataclasses.replace(made, rule=rule)
  with pytest.raises(ValueError, match="must have an end of text"):
    region_rows.make(CONFIG, without, 300)
  off = region_targets.RegionsConfig()
  assert region_rows.make(off, without, 300) is None
