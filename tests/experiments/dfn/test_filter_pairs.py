"""Pairs of filters: shares, subsets, and what the loader reads of them."""

import json

import numpy as np
import pytest

from experiments.curation import prepare_icons
from experiments.dfn import config, filter_pairs
from experiments.parts import icon_sets
from input_pipeline.sources import source_config, webdataset
from input_pipeline.storage import uids as uids_lib
from tests.experiments.curation import package

NUM_POOL, NUM_CLEAN = 8, 40
_NAMES = [
  f"{first}-{second}" for first in ("red", "old") for second in ("pen",)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("dfn")
  sets = {f"set{i}": _NAMES for i in range((NUM_POOL + NUM_CLEAN) // 2)}
  package.write(folder / "package", sets | {"lucide": _NAMES})
  opened = icon_sets.open_package(folder / "package")
  icons, held_out = prepare_icons.read(opened, NUM_POOL + NUM_CLEAN)
  out = folder / "out"
  prepare_icons.write(opened, icons, held_out, out, num_pool=NUM_POOL)
  filter_pairs.make(icons[NUM_POOL:], opened.titles, out)
  return out


def _read(out, subset):
  source = config.get_config("filter").data.sources.main.to_dict()
  source |= {"path": f"{out}/{config.TARS['filter']}", "subset": str(subset)}
  context = source_config.SourceContext("icons", out / "cache", 32)
  records = webdataset.open_split(
    source_config.SourceConfig(**source), "", context
  )
  kept = uids_lib.sortable(np.load(subset)) if subset else None
  found = {}
  for i, uid in enumerate(uids_lib.sortable(records.uids())):
    if kept is None or uid in kept:
      found[records[i].key] = records[i].texts["en"][0]
  return found


def test_a_filter_has_one_pair_for_each_icon(made):
  facts = json.loads((made / filter_pairs.FACTS).read_text())
  every = _read(made, "")
  assert len(every) == 2 * NUM_CLEAN
  previous = set()
  for name, share in filter_pairs.REPLACED.items():
    pairs = _read(made, filter_pairs.subset(made, name))
    assert len(pairs) == facts[name]["pairs"] == NUM_CLEAN
    icons = {int(key) % 100_000_000 for key in pairs}
    assert icons == set(range(NUM_CLEAN))
    noisy = {key for key in pairs if int(key) >= 100_000_000}
    assert len(noisy) == round(share * NUM_CLEAN)
    # Replaced pairs are replaced at each larger share too.
    assert previous <= noisy
    previous = noisy


def test_noisy_pairs_have_the_right_captions_that_are_counted(made):
  facts = json.loads((made / filter_pairs.FACTS).read_text())
  assert facts["clean"]["right"] == 1.0
  assert facts["clean"]["kinds"] == {"clean": NUM_CLEAN}
  pairs = _read(made, filter_pairs.subset(made, "noisy"))
  kinds = facts["noisy"]["kinds"]
  assert sum(kinds.values()) == NUM_CLEAN
  named = [text for text in pairs.values() if "pen" in text]
  # A swapped pair has another icon's name; boilerplate and files have none.
  others = kinds.get("boilerplate", 0) + kinds.get("file_name", 0)
  assert len(named) == NUM_CLEAN - others
  right = NUM_CLEAN - others - kinds.get("swapped", 0)
  assert facts["noisy"]["right"] == pytest.approx(right / NUM_CLEAN)


def test_a_second_call_writes_nothing(made):
  before = {x: x.stat().st_mtime_ns for x in made.rglob("*")}
  filter_pairs.make((), {}, made)
  assert {x: x.stat().st_mtime_ns for x in made.rglob("*")} == before
