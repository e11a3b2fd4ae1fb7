"""Sections of READMEs."""

import pytest

from experiments.recipes import plans, recipes, tables
from runtime import failures
from tests.experiments.recipes import test_plans

RECIPES = recipes.named(["clip_vit_b32", "clip_vit_l14"])


def _records():
  plan = test_plans._step()
  record = {
    "compilers": {"jax": "0.10.2", "libtpu": "0.0.42"},
    "figures": plans.figures(RECIPES[0], plan),
    "plan": plan,
  }
  return {"clip_vit_b32": record, "clip_vit_l14": None}


def test_rows():
  text = tables.sections(RECIPES, _records())["clip"]
  rows = [x for x in text.splitlines() if x.startswith("| vit")]
  assert rows == [
    "| vit_b32 | v5e:16x16, 256 chips | 256 x 1 x 1 | yes | 3 of 15.75 | 100 |"
    " 65,500 | 40% | 12.8 B | 13,900 | not stated for this model |",
    "| vit_l14 | v5e:16x16, 256 chips | 16 x 16 x 1 | not yet planned |  |  | "
    " |  | 12.8 B |  | 256 V100; 73,728 V100-hours: 12 days (section 2.5) |",
  ]
  assert "jax 0.10.2, libtpu 0.0.42" in text
  assert "not yet run" in text
  assert "- vit_b32: ImageNet zero-shot 63.4" in text
  assert "--config=configs/clip.py:vit_b32" in text
  assert "- vit_l14: no command, as no plan of its step fits." in text
  assert "--config=configs/clip.py:vit_l14" not in text


def test_a_step_that_does_not_fit():
  records = _records()
  plan = test_plans._step(fits=False, needs_gib=None)
  records["clip_vit_b32"]["figures"] = plans.figures(RECIPES[0], plan)
  text = tables.sections(RECIPES, records)["clip"]
  assert "| **no** | of 15.75 |  |  |  | 12.8 B |  |" in text
  assert "main.py" not in text


def test_table_of_all_recipes():
  rows = tables.overview(RECIPES, _records()).splitlines()[-3:-1]
  assert rows == [
    "| [clip, vit_b32](clip/README.md) | v5e:16x16, 256 chips | yes |"
    " 3 of 15.75 | 12.8 B | 13,900 |  |",
    "| [clip, vit_l14](clip/README.md) | v5e:16x16, 256 chips |"
    " not yet planned |  | 12.8 B |  | 73,728 V100-hours: 12 days"
    " (section 2.5) |",
  ]


def test_sections_are_placed(tmp_path):
  path = tmp_path / "clip" / "README.md"
  assert tables.stale(tmp_path, RECIPES, _records()) == [
    "experiments/clip/README.md",
    "experiments/README.md",
  ]
  assert tables.write(tmp_path, RECIPES, _records()) == [
    path,
    tmp_path / "README.md",
  ]
  assert "[clip, vit_b32](clip/README.md)" in (
    (tmp_path / "README.md").read_text()
  )
  assert path.read_text().startswith("# clip\n\n<!-- recipe -->\n")
  assert not tables.stale(tmp_path, RECIPES, _records())
  path.write_text("# CLIP\n\nBefore.\n")
  tables.write(tmp_path, RECIPES, _records())
  text = path.read_text()
  assert text.startswith("# CLIP\n\nBefore.\n\n<!-- recipe -->\n")
  # The section alone is replaced, and only once.
  path.write_text(text.replace("not stated", "old") + "After.\n")
  assert tables.write(tmp_path, RECIPES, _records()) == [path]
  assert path.read_text() == text + "After.\n"
  assert tables.write(tmp_path, RECIPES, _records()) == []


@pytest.mark.parametrize(
  "text",
  ["<!-- recipe -->\n", "<!-- /recipe -->\n<!-- recipe -->\n"],
  ids=["one", "reversed"],
)
def test_broken_markers(tmp_path, text):
  path = tmp_path / "clip" / "README.md"
  path.parent.mkdir()
  path.write_text(text)
  with pytest.raises(failures.RunError, match=r"README.md.*<!-- /recipe -->"):
    tables.write(tmp_path, RECIPES, _records())
  assert path.read_text() == text
