"""Preparation of MetaCLIP's study: pool, selections, test sets, arms."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from curation import recipe
from experiments.metaclip import config, curate, pool, prepare, study
from experiments.parts import emoji_styles
from input_pipeline.sources import array_record, prepared
from input_pipeline.storage import uids as uids_lib

NUM = 3000
NAMES = ("one_list_1", "one_list_4", "own_t_40")
NUM_CONCEPTS = 40


def _concept(number):
  return pool.Concept(
    f"{0x1F600 + number:X}",
    ("a.png",),
    {x: f"{x} name {number}" for x in pool.LANGUAGES},
    {x: (f"{x} group", "both") for x in pool.LANGUAGES},
  )


CONCEPTS = [_concept(number) for number in range(NUM_CONCEPTS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("metaclip")
  emoji = folder / "emoji"
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8)).save(buffer, "PNG")
  texts = {x: (f"{x} name",) for x in emoji_styles.LANGUAGES}
  test = [
    array_record.Record(f"b:{concept.key}", buffer.getvalue(), texts)
    for concept in CONCEPTS[1:]
  ]
  prepared.prepare(
    emoji / emoji_styles.RECORDS, lambda: {"test": test}, versions={"a": "1"}
  )
  (emoji / "a.png").write_bytes(buffer.getvalue())
  arguments = (CONCEPTS, emoji, folder / "out", NUM, NAMES)
  facts = prepare.make(*arguments)
  assert prepare.make(*arguments) == facts
  return folder / "out", facts


def test_selections_are_nested_in_t_and_of_the_pool(made):
  folder, facts = made
  keys = {}
  for name in NAMES:
    kept = np.load(folder / "curated" / name / "selection.npy")
    keys[name] = {*kept.tolist()}
    assert len(keys[name]) == facts[name]["pairs"]
    assert sum(facts[name]["languages"].values()) == facts[name]["pairs"]
  rows = [
    json.loads(line)
    for line in (folder / "pool.jsonl").read_text().split("\n")[:-1]
  ]
  assert len(rows) == NUM == facts["pool"]["pairs"]
  everything = {uids_lib.uid(row["key"]) for row in rows}
  one_list = [keys[f"one_list_{t}"] for t in (1, 4)]
  for smaller, larger in zip(
    one_list, [*one_list[1:], everything], strict=True
  ):
    assert smaller < larger
  first, last = (
    [facts[x][end] / facts[x]["pairs"] for x in ("pool", "one_list_1")]
    for end in ("first_tenth", "last_half")
  )
  assert first[0] > first[1]
  assert last[0] < last[1]


def test_t_is_of_all_languages_or_of_each(made):
  _, facts = made
  assert {*facts["one_list_4"]["balance"]} == {"all"}
  own = {x: y["t"] for x, y in facts["own_t_40"]["balance"].items()}
  assert own["en"] == 40
  assert own["bn"] < own["de"] < 40


def test_metadata_of_one_list_are_those_of_all_languages(made):
  folder, _ = made
  lists = {
    path.stem: path.read_text().splitlines()
    for path in (folder / "metadata").iterdir()
  }
  assert {*lists} == {*pool.LANGUAGES}
  # "both" is an entry of each language, and once of the one list.
  merged = (folder / "metadata.txt").read_text().splitlines()
  assert len(merged) == len({*merged}) == sum(map(len, lists.values())) - 9
  assert {*merged} == set().union(*lists.values())


def test_head_and_tail_are_the_ends_of_the_test_set(made):
  folder, _ = made
  keys = {}
  for split in ("test", "head", "tail"):
    records = prepared.records(folder / emoji_styles.RECORDS, split)
    keys[split] = [records[i].key for i in range(len(records))]
    assert {*records[0].texts} == {*pool.LANGUAGES}
  assert len(keys["test"]) == NUM_CONCEPTS - 1
  assert keys["head"] == keys["test"][:7]
  assert keys["tail"] == keys["test"][-7:]
  order = pool.ranked([concept.key for concept in CONCEPTS])
  assert keys["head"][0][2:] in order[:2]


def test_concepts_are_trained_and_without_a_skin_tone(tmp_path, monkeypatch):
  rows = [
    {"uid": f"{artist}:1F600", "image": f"{artist}/1F600.png"}
    for artist in ("noto", "twemoji")
  ]
  text = "".join(f"{json.dumps(row)}\n" for row in rows)
  (tmp_path / "train.jsonl").write_text(text)
  names = {x: f"{x} face" for x in emoji_styles.LANGUAGES}
  entries = [
    {"key": key, "is_toneless": "-" not in key, "names": names}
    for key in ("1F600", "1F600-1F3FB", "1F601")
  ]
  monkeypatch.setattr(emoji_styles, "read_entries", lambda packages: entries)
  monkeypatch.setattr(
    emoji_styles, "read_tags", lambda packages, x: {"1F600": (f"{x} tag",)}
  )
  (concept,) = prepare.read_concepts(tmp_path / "packages", tmp_path)
  assert concept.key == "1F600"
  assert concept.pictures == ("noto/1F600.png", "twemoji/1F600.png")
  assert {*concept.names} == {*concept.tags} == {*pool.LANGUAGES}
  assert concept.tags["ko"] == ("ko tag",)


def test_recipes_leave_the_papers_values(made):
  folder, _ = made
  steps = recipe.checked(
    curate.get_config("own_t_10", str(folder), str(folder)).to_dict()
  ).steps
  assert [*steps] == ["match", "balance", "balanced"]
  assert (steps["balance"].t, steps["balance"].t_language) == (10, "en")
  assert steps["balance"].t_rule == "published"
  assert steps["match"].ends == "by_script"
  with pytest.raises(ValueError, match=r"curate\.py:none must be one of"):
    curate.get_config("none")


def test_arms_are_the_pool_and_each_selection_once():
  made = config.get_config()
  subsets = []
  for trial in study.get_study():
    with made.unlocked():
      made.update_from_flattened_dict(trial)
    subsets.append(trial.get("data.sources.main.subset", ""))
  assert subsets[:3] == ["", "", ""]
  assert {x.split("/")[-2] for x in subsets[3:]} == {*curate.SELECTIONS}
  assert len(subsets) == 3 * (1 + len(curate.SELECTIONS))
  rare = study.STUDY.figures[2].names
  assert [x.split("/")[2] for x in rare] == [*pool.RARE]
