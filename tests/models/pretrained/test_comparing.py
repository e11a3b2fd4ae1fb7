"""Models differ where their embeddings would."""

import dataclasses

import pytest

from models.pretrained import comparing
from tests import runs

MODEL = runs.make_config().model


def _changed(model=MODEL, **towers):
  changes = {
    name: dataclasses.replace(getattr(model, name), **fields)
    for name, fields in towers.items()
  }
  return dataclasses.replace(model, **changes)


def test_equal_models():
  assert comparing.differences(MODEL, MODEL) == {}


def test_what_changes_an_embedding():
  other = dataclasses.replace(MODEL, image_mean=(0.0, 0.5, 0.5))
  other = _changed(other, image={"pool": "cls"}, text={"causal": True})
  assert comparing.differences(MODEL, other) == {
    "model.image_mean": ((0.5, 0.5, 0.5), (0.0, 0.5, 0.5)),
    "model.image.pool": (MODEL.image.pool, "cls"),
    "model.text.causal": (False, True),
  }
  ignored = r"image_mean|image\.pool"
  assert list(comparing.differences(MODEL, other, ignored)) == [
    "model.text.causal"
  ]


def test_what_does_not():
  other = dataclasses.replace(
    MODEL, dtype="bfloat16", remat="block", scale_init=1.0, bias_init=0.0
  )
  other = _changed(
    other, image={"dropout": 0.5, "num_queries": 3}, text={"dropout": 0.5}
  )
  assert comparing.differences(MODEL, other) == {}


@pytest.mark.parametrize(
  ("text", "field", "counts"),
  [
    ({"mask_padding": True}, "pad_id", True),
    ({"mask_padding": False, "pool": "last"}, "pad_id", False),
    ({"pool": "eot"}, "eot_id", True),
    ({"pool": "map"}, "eot_id", False),
  ],
)
def test_ids_that_a_tower_does_not_look_at(text, field, counts):
  ours = _changed(text=text)
  theirs = _changed(text=text | {field: 7})
  assert bool(comparing.differences(ours, theirs)) == counts


def test_a_tower_that_is_missing():
  found = comparing.differences(MODEL, dataclasses.replace(MODEL, text=None))
  assert found["model.text.tower"] == ("transformer", None)
  assert all(name.startswith("model.text") for name in found)
