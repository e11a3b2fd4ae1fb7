"""Regions and targets on the page of --task=inspect-data."""

import pytest

from input_pipeline.inspecting import inspection, inspection_page
from tests.input_pipeline.regions import fixture


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  return fixture.write(tmp_path_factory.mktemp("shown"))


def _shown(config, count=8):
  shown, _ = inspection.first_examples(
    config, batch_size=4, seed=0, count=count
  )
  return shown


@pytest.mark.parametrize(
  ("task", "weights"), [("referring", (0, 1)), ("grounded", (1, 0))]
)
def test_a_target_is_readable(table, task, weights):
  shares = (0.0, float(task == "referring"), float(task == "grounded"))
  config = fixture.section(
    *(table,), num_tokens=20, num_bins=33, probabilities=shares
  )
  num_seen = 0
  for example in _shown(config):
    (target,) = example.targets
    chosen = [x for x in example.regions if x.is_chosen]
    if not chosen:
      assert target.task == "caption"
      continue
    num_seen += 1
    assert target.task == task
    texts = "".join(x.text for x in target.pieces if x.kind == "text")
    assert texts == chosen[0].text
    boxes = [x for x in target.pieces if x.kind == "box"]
    left, top, right, bottom = chosen[0].box
    bins = [round(side * 32) for side in (top, left, bottom, right)]
    assert [x.text for x in boxes] == [f"bin {x}" for x in bins]
    of_text, of_box = weights
    kinds = {"text": of_text, "box": of_box, "mark": 1}
    assert all(x.weight == kinds[x.kind] for x in target.pieces)
    assert target.pieces[-1].text == "end"
  assert num_seen >= 4


def test_the_page_shows_boxes_and_targets(table, tmp_path):
  config = fixture.section(table, num_tokens=12, num_bins=33, tasks="all")
  path = tmp_path / "page.html"
  assert not inspection_page.write(
    path, config, batch_size=4, seed=0, num_examples=4
  )
  page = path.read_text()
  num_regions = sum(len(x.regions) for x in _shown(config, 4))
  assert num_regions > 0
  assert page.count("<rect") == 2 * num_regions  # each with a light edge
  for task in ("caption", "referring", "grounded"):
    assert page.count(f">{task}</span>") == 4
  # Texts that are too long:
  assert "0 of 12 captions, 11 of 22 texts of regions" in page
  assert "<h2>Regions</h2>" in page


def test_a_page_without_regions_has_none(table, tmp_path):
  config = fixture.section(table)
  assert all(x.regions == x.targets == () for x in _shown(config, 4))
  path = tmp_path / "page.html"
  inspection_page.write(path, config, batch_size=4, seed=0, num_examples=4)
  page = path.read_text()
  assert "<rect" not in page
  assert "<h2>Regions</h2>" not in page
