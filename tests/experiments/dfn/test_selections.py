"""Selections: MetaCLIP's t, equal sizes, quality by kinds of noise."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.captions import matching
from experiments.curation import web_noise
from experiments.dfn import config, curate, filter_pairs, quality, selections
from experiments.dfn import study as study_lib
from input_pipeline.storage import uids as uids_lib
from runtime import failures
from training import config as config_lib

NUM = 80
# Kind of each pair of the pool: even ones right, odd ones swapped.
KINDS = np.array([0, list(web_noise.SHARES).index("swapped")] * (NUM // 2))


@pytest.fixture
def pool(tmp_path):
  np.save(tmp_path / "kinds.npy", KINDS.astype(np.uint8))
  return tmp_path


def _signals(out, name, **columns):
  folder = selections.curated_folder(out, name)
  (folder / "signals").mkdir(parents=True)
  uids = uids_lib.as_bytes(selections.pool_uids(NUM))
  halves = np.array_split(np.arange(NUM), 2)
  for number, rows in enumerate(halves):
    table = pa.table(
      {
        "uid": pa.array([x.tobytes() for x in uids[rows]], pa.binary(16)),
        **{
          key: pa.array([values[i] for i in rows], kind)
          for key, (values, kind) in columns.items()
        },
      }
    )
    pq.write_table(table, folder / "signals" / f"{number}.parquet")
  return folder


def test_t_is_the_smallest_that_keeps_enough():
  # Entry 0 has four captions, entry 1 one: t keeps min(t, 4) + 1.
  matches = matching.Matches(np.arange(6), np.array([0, 0, 0, 0, 1], np.uint32))
  assert [selections.smallest_t(matches, x) for x in (1, 2, 2.1, 4, 5)] == (
    [1, 1, 2, 3, 4]
  )
  assert selections.smallest_t(matches, 5.1) is None
  nothing = matching.Matches(np.zeros(3, int), np.zeros(0, np.uint32))
  assert selections.smallest_t(nothing, 1) is None


def test_t_is_chosen_from_the_captions_that_match(pool):
  # Half of the captions match one entry, the other half none: of 80 pairs, 20
  # are to be kept, and 21 with the margin.
  lists = [[7] if i < 40 else None for i in range(NUM)]
  folder = _signals(pool, "metaclip", matches=(lists, pa.list_(pa.uint32())))
  selections.choose_t(pool, "metaclip")
  assert (folder / selections.T).read_text() == "21\n"
  assert selections.read_t(pool, "metaclip") == 21
  # Twice as many are needed where a filter keeps half of them.
  _signals(pool, "metaclip_dfn", matches=(lists, pa.list_(pa.uint32())))
  with pytest.raises(failures.RunError, match="metaclip_dfn needs 40 pairs"):
    selections.choose_t(pool, "metaclip_dfn")


def test_selections_have_equally_many_pairs(pool):
  uids = selections.pool_uids(NUM)
  folder = selections.curated_folder(pool, "metaclip")
  folder.mkdir(parents=True)
  filter_pairs.save_subset(folder / "selection.npy", uids[:30])
  selections.thin(pool, "metaclip")
  kept = np.load(selections.path(pool, "metaclip"))
  assert len(kept) == NUM // 4
  assert set(kept.tolist()) < set(uids[:30].tolist())
  selections.draw_random(pool)
  drawn = np.load(selections.path(pool, selections.RANDOM))
  assert len(drawn) == NUM // 4
  assert len({*drawn.tolist()} - {*uids[:30].tolist()}) > 5
  filter_pairs.save_subset(folder / "selection.npy", uids[:19])
  with pytest.raises(failures.RunError, match="must have 20 pairs; 19 were"):
    selections.thin(pool, "metaclip")


def test_auc():
  # By hand: 3 beats both; 1 loses to 2 and ties with 1.
  assert quality.auc(np.array([3.0, 1.0]), np.array([2.0, 1.0])) == 0.625
  rng = np.random.default_rng(0)
  right, wrong = rng.normal(1, 1, 50), rng.normal(0, 1, 70)
  brute = np.mean(right[:, None] > wrong[None])
  assert quality.auc(right, wrong) == pytest.approx(brute)


def test_quality_is_that_of_the_kinds(pool):
  right = {name: {"right": 0.5} for name in filter_pairs.REPLACED}
  (pool / filter_pairs.FACTS).write_text(json.dumps(right))
  # Scores of the right pairs are higher, but for one pair that has none.
  scores = [None, *(float(i % 2 == 0) for i in range(1, NUM))]
  for name in selections.FILTERS:
    run = selections.filter_folder(pool, name)
    run.mkdir(parents=True)
    line = dict.fromkeys(quality.FIGURES, 0.25) | {"step": 1}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    _signals(pool, f"dfn_{name}", score=(scores, pa.float32()))
  uids = selections.pool_uids(NUM)
  for number, name in enumerate(selections.CURATED):
    folder = selections.curated_folder(pool, name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text('{"num_kept": 25}')
    (folder / selections.T).write_text("3\n")
    # The first selection has 20 right pairs of 20; others have fewer.
    rows = [*range(0, 40 - 4 * number, 2), *range(1, 4 * number, 2)]
    filter_pairs.save_subset(folder / "selection.npy", uids[rows])
    selections.thin(pool, name)
  selections.draw_random(pool)
  facts = quality.measure(pool)
  assert {*facts["filters"]} == {*selections.FILTERS}
  assert facts["filters"]["clean"]["auc"] == 1.0
  assert facts["filters"]["clean"]["auc_swapped"] == 1.0
  assert facts["filters"]["noisy_long"]["figures"][quality.FIGURES[0]] == 0.25
  assert facts["selections"]["raw"]["right"] == 0.5
  shares = [facts["selections"][name]["right"] for name in selections.CURATED]
  expected = [1 - 0.1 * number for number in range(len(selections.CURATED))]
  assert shares == pytest.approx(expected)
  assert facts["selections"]["metaclip"]["t"] == 3
  assert "t" not in facts["selections"]["dfn_clean"]


@pytest.mark.parametrize("arg", [*config.TARS])
def test_configs_can_be_trained(arg, tmp_path):
  made = config.get_config(arg)
  changes = config.folder_changes(arg, tmp_path) | config.length_changes(640)
  with made.unlocked():
    made.update_from_flattened_dict(changes)
  checked = config_lib.checked(made.to_dict())
  assert checked.total_steps == 10
  for used in checked.evaluate.sets.values():
    assert used.source.path.startswith(str(tmp_path))
  with pytest.raises(ValueError, match="must be one of"):
    config.get_config("arms")


def test_the_hybrid_scores_what_balancing_keeps():
  made = curate.get_config("metaclip_dfn")
  assert made.order == ("match", "balance", "balanced", "embed", "top")
  assert made.pool == curate.get_config("dfn").pool


def test_all_arms_have_distinct_selections():
  trials = study_lib.get_study()
  paths = {tuple(trial.items()) for trial in trials}
  assert len(paths) == len(trials) == 3 * 9
  named = {trial["data.sources.main.subset"] for trial in trials} - {""}
  assert named == {
    f"{config.FOLDER}/selections/{name}.npy"
    for name in (selections.RANDOM, *selections.CURATED)
  }
