"""Sets of one's own items: the form of the file, and attribute swaps."""

import json

import pytest

from evaluators import suite_data
from evaluators.sets import choices, kinds
from evaluators.sets.disk import items
from runtime import sections
from tests.evaluators.sets import made


def _write(tmp_path, *rows):
  made.images(tmp_path / "images", "1.png", "2.png")
  path = tmp_path / "swaps.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def _item(*texts, images=("1.png",), **fields):
  return {"images": list(images), "texts": list(texts), **fields}


def test_the_first_text_belongs_to_the_image(tmp_path):
  path = _write(
    tmp_path,
    _item("a Nike dress", "a Puma dress", "a Nike cap", tag="brand"),
    _item("a red bag", "a blue bag", "a red hat", images=("2.png",)),
  )
  values = {
    **{"every_steps": 0, "batch_size": 8},
    "sets": {"swaps": kinds.selection(path)},
  }
  config = sections.make(suite_data.EvaluateConfig, values, see="")
  config.check()
  assert config.paths == {"evaluate.sets.swaps.items": path}
  opened = config.labelled_sets["swaps"].open("swaps", str(tmp_path / "c"))
  assert opened.kind == "selection"
  assert opened.source["image_root"] == str(tmp_path / "images")
  assert [x["right"] for x in items.read(opened.items)] == [[[0], [], []]] * 2
  assert items.texts(opened.items)[:2] == ["a Nike dress", "a Puma dress"]
  assert items.read(opened.items)[0]["tag"] == "brand"


@pytest.mark.parametrize(
  ("row", "message"),
  [
    (_item("a"), "item 2: expected an image and two different texts"),
    (_item("a", "a"), "two different texts at least; got 1 images and the"),
    (_item("a", "b", images=()), "got 0 images"),
    (_item("a", "b", "c"), "expected 1 images and 2 texts, as item 1 has; got"),
    ({"images": ["1.png"]}, "item 2: texts must be a list of names"),
  ],
)
def test_items_that_cannot_be_used(tmp_path, row, message):
  path = _write(tmp_path, _item("a", "b"), row)
  with pytest.raises(ValueError, match=message):
    choices.ChoicesConfig("selection", path).open("swaps", str(tmp_path / "c"))


def test_a_file_that_is_not_there(tmp_path):
  config = choices.ChoicesConfig("selection", str(tmp_path / "none.jsonl"))
  with pytest.raises(ValueError, match="swaps.items must be a file of JSON"):
    config.open("swaps", str(tmp_path / "c"))
  with pytest.raises(ValueError, match="x.items must be a file of JSON lines"):
    choices.ChoicesConfig("selection", "").check("x")
