import json

import numpy as np
import pytest

from configs.parts import sources
from experiments.curation import prepare_icons, web_noise
from experiments.parts import icon_sets
from input_pipeline.sources import source_config, webdataset
from input_pipeline.storage import uids as uids_lib
from input_pipeline.tokenizers import hf
from tests.experiments.curation import package

NAMES = [f"{first}-{second}" for first in ("red", "old") for second in "pq"]
NAMES = [name.replace("p", "pen").replace("q", "cup") for name in NAMES]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("icons")
  sets = {f"set{i}": NAMES for i in range(4)}
  sets |= {"lucide": [*NAMES, "unseen-word"], "feather": NAMES}
  package.write(folder / "package", sets)
  opened = icon_sets.open_package(folder / "package")
  prepare_icons.make(opened, folder / "out", num_pool=12, num_trusted=4)
  return folder


def records(path, folder):
  fields = sources.source(path=str(path), caption=("txt",)).to_dict()
  source = source_config.SourceConfig(**fields)
  context = source_config.SourceContext("icons", folder / "cache", 32)
  return webdataset.open_split(source, "", context)


def test_tars_are_read_by_the_loader(made):
  pool = records(made / "out" / "pool" / "*.tar", made)
  assert len(pool) == 12
  assert pool[3].key == "000000003"
  assert tuple(pool.uids()[3].item()) == uids_lib.uid("000000003")


def test_facts_count_what_is_there(made):
  facts = json.loads((made / "out" / "facts.json").read_text())
  kinds = np.load(made / "out" / "kinds.npy")
  names = list(web_noise.SHARES)
  assert facts["pool"] == {
    names[kind]: int((kinds == kind).sum()) for kind in np.unique(kinds)
  }
  assert facts["sets"] == 4
  assert "feather" not in facts["licences"]


def test_held_out_names_are_those_that_could_be_learnt(made):
  heldout = records(made / "out" / "heldout" / "retrieval.tar", made)
  captions = {heldout[i].texts["en"][0] for i in range(len(heldout))}
  assert captions == {name.replace("-", " ") for name in NAMES}


def test_pictures_of_the_pool_are_not_held_out(made):
  opened = icon_sets.open_package(made / "package")
  known = list(opened.icons("set0")) * 3
  held_out = list(opened.icons("lucide"))
  digests = [
    prepare_icons.digest_of(
      prepare_icons.render(web_noise.clean_pair(icon, ""))
    )
    for icon in held_out
  ]
  # Three sets must have a word; these are one set, so the rule is met by hand.
  known = [
    icon_sets.Icon(f"set{i}", icon.name, "", 0, 0, 24, 24)
    for i, icon in enumerate(known)
  ]
  kept, _ = prepare_icons.choose(known, held_out, {digests[0]})
  assert held_out[0] not in kept
  assert len(kept) == len(NAMES) - 1


def test_a_second_call_makes_the_same_tars(made, tmp_path):
  opened = icon_sets.open_package(made / "package")
  prepare_icons.make(opened, tmp_path, num_pool=12, num_trusted=4)
  for path in (made / "out").rglob("*.*"):
    again = tmp_path / path.relative_to(made / "out")
    assert again.read_bytes() == path.read_bytes(), path


def test_the_tokenizer_is_one_that_data_tokenizer_hf_reads(made):
  loaded = hf.load(made / "out" / "tokenizer", num_tokens=8)
  ids = loaded(["red cup"])[0]
  assert loaded.eos_id in ids
  assert loaded.decode(ids).strip() == "red cup"


def test_too_few_icons_are_an_error(made, tmp_path):
  opened = icon_sets.open_package(made / "package")
  with pytest.raises(
    ValueError, match="ask for 1000 icons; the package has 16"
  ):
    prepare_icons.make(opened, tmp_path, num_pool=999, num_trusted=1)
