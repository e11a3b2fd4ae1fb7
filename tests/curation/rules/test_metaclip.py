"""MetaCLIP's steps, run over a small pool; against loops over its pairs."""

import collections

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import operators, pools, recipe, rules, runner
from curation import pool as pool_lib
from curation.captions import match_counts
from curation.engine import engines
from curation.keys import hashing
from curation.rules import entry_counts, metaclip
from input_pipeline.storage import uids as uids_lib

ENTRIES = {"en": ["a", "car", "red car", "sea"], "ja": ["山", "赤い"]}
# Languages in order: the numbers of their entries follow each other.
NUMBERED = [*ENTRIES["en"], *ENTRIES["ja"]]
TEXTS = [
  *[("en", "a red car")] * 30,
  *[("en-gb", "a car")] * 20,
  *[("en", "sea")] * 3,
  *[("en", "nothing")] * 5,
  *[("ja", "赤い山")] * 12,
  *[("ja", "a 赤い山")] * 2,
  *[("de", "a car")] * 4,
  *[("jp", "山")] * 6,
]


@pytest.fixture
def metadata(tmp_path):
  folder = tmp_path / "metadata"
  folder.mkdir()
  for language, entries in ENTRIES.items():
    (folder / f"{language}.txt").write_text("\n".join(entries) + "\n")
  return str(folder)


def match(folder, **fields):
  return metaclip.Match(
    **{
      "metadata": folder,
      "language": "language",
      "other_names": (("jp", "ja"),),
      "mode": "parity",
      "ends": "by_script",
      **fields,
    }
  )


def balance(folder, **fields):
  return metaclip.Balance(
    **{
      "metadata": folder,
      "t": 10,
      "t_language": "",
      "tail_mass": 0.06,
      "t_rule": "inverse",
      "keep": "drawn",
      "seed": 0,
      **fields,
    }
  )


def curate(tmp_path, found, texts=TEXTS, num_shards=2):
  """Return the manifest, and the signals of pairs by number."""
  folder = tmp_path / "pool"
  folder.mkdir(parents=True, exist_ok=True)
  numbers = np.arange(len(texts))
  for shard in range(num_shards):
    own = numbers[shard::num_shards].tolist()
    table = pa.table(
      {
        "uid": [f"{number:032x}" for number in own],
        "language": [texts[number][0] for number in own],
        "text": [texts[number][1] for number in own],
      }
    )
    pq.write_table(table, folder / f"{shard}.parquet", row_group_size=7)
  fields = dict.fromkeys(pool_lib.PoolConfig.__dataclass_fields__, "")
  fields |= {"format": "parquet", "path": str(folder / "*.parquet")}
  fields |= {"image": (), "caption": (), "language": "en"}
  fields |= {"language_field": "language"}
  if "languages" in fields:
    fields["languages"] = ()
  config = pool_lib.PoolConfig(**fields)
  pool = pools.FORMATS["parquet"].open_pool(config, tmp_path)
  workdir = tmp_path / "work"
  whole = recipe.Recipe(config, str(tmp_path / "cache"), 1, found)
  manifest = runner.curate(whole, pool, workdir, engines.Inline())
  signals = collections.defaultdict(dict)
  for path in sorted(workdir.glob("stages/*/shards/*.parquet")):
    for row in pq.read_table(path).to_pylist():
      signals[int.from_bytes(row.pop("uid"), "big")] |= row
  return manifest, signals


def expected_matches(language, text):
  """Return numbers of entries, by the rule for scripts without spaces."""
  names = {"jp": "ja", "en-gb": "en"}
  found = []
  for entry in ENTRIES.get(names.get(language, language), []):
    is_in = entry in text if "a" not in entry else f" {entry} " in f" {text} "
    if is_in:
      found.append(NUMBERED.index(entry))
  return found


def test_matches_by_language_and_balances_all_entries(tmp_path, metadata):
  found = {
    "match": match(metadata, mode="fixed"),
    "balance": balance(metadata),
    "balanced": entry_counts.EntryCounts(metadata),
  }
  manifest, signals = curate(tmp_path, found)
  expected = [expected_matches(*pair) for pair in TEXTS]
  got = [signals[number]["matches"] for number in range(len(TEXTS))]
  assert got == expected
  matched, balanced, after = manifest["steps"]
  assert matched["kept"] == sum(map(bool, expected)) == len(TEXTS) - 9

  counts = np.bincount([i for ids in expected for i in ids], minlength=6)
  chances = np.minimum(1, 10 / np.maximum(counts, 1))
  uids = np.zeros(len(TEXTS), uids_lib.UID)
  uids["f1"] = np.arange(len(TEXTS))
  keep = np.array([1 - np.prod(1 - chances[ids]) for ids in expected])
  kept = hashing.uniform(uids, 0) < keep
  selection = np.load(tmp_path / "work/selection.npy")
  assert selection["f1"].tolist() == np.flatnonzero(kept).tolist()
  for number in np.flatnonzero(keep):
    # float32 holds 24 bits.
    assert signals[number]["keep_probability"] == pytest.approx(
      keep[number], rel=2**-23
    )

  assert balanced["facts"]["num_matches"] == counts.sum()
  assert balanced["facts"]["languages"]["ja"] == {
    "t": 10,
    "num_entries": 2,
    "num_matched_entries": 2,
    "num_matches": 34,
    "num_head_entries": 2,
    "tail_mass": 0,
  }
  left = [i for number in np.flatnonzero(kept) for i in expected[number]]
  left = np.bincount(left, minlength=6)
  assert after["facts"]["num_matches"] == left.sum()
  other, _ = curate(tmp_path / "other", found, num_shards=5)
  assert other["kept_sha256"] == manifest["kept_sha256"]
  assert [step["facts"] for step in other["steps"]] == [
    step["facts"] for step in manifest["steps"]
  ]
  # English has most matches: "a" and "car" 50 each, "red car" 30, "sea" 3.
  assert after["facts"]["curves"] == {
    "ranks": [1, 2, 3, 4],
    "before": [50, 50, 30, 3],
    "after": left[:4].tolist(),
    "t": 10,
  }


def test_each_language_has_the_t_of_the_english_tail(tmp_path, metadata):
  texts = [("en", "sea")] * 6 + [("en", "a")] * 94 + [("ja", "山")] * 5
  texts += [("ja", "赤い")] * 95
  found = {
    "match": match(metadata),
    "balance": balance(metadata, t=7, t_language="en", keep="all"),
  }
  manifest, _ = curate(tmp_path, found, texts)
  # Below 7 English has 6 % of its matches; nearest to that Japanese has 5 %,
  # of its rarer entry, which is below 95.
  languages = manifest["steps"][1]["facts"]["languages"]
  assert {name: row["t"] for name, row in languages.items()} == {
    "en": 7,
    "ja": 95,
  }
  assert manifest["num_kept"] == 200


def test_one_file_is_for_captions_of_all_languages(tmp_path):
  path = tmp_path / "entries.json"
  path.write_text('["car", "山"]')
  found = {"match": match(str(path), ends="both", language="")}
  assert found["match"].columns == ("text",)
  manifest, signals = curate(tmp_path, found)
  assert manifest["num_kept"] == 30 + 20 + 4 + 6
  assert signals[len(TEXTS) - 1]["matches"] == [1]


def test_counting_in_runs_is_counting_at_once(tmp_path, monkeypatch):
  monkeypatch.setattr(match_counts, "_MAX_HELD", 50)
  rng = np.random.default_rng(0)
  lists = [rng.integers(40, size=size) for size in rng.poisson(3, 100)]
  counter = match_counts.Counter()
  for start in range(0, 100, 8):
    array = pa.array(lists[start : start + 8], pa.list_(pa.uint32()))
    counter.add(pa.table({"matches": array}))
  counter.save(tmp_path / "part")
  total = match_counts.total([tmp_path / "part"], 40)
  expected = np.bincount(np.concatenate(lists), minlength=40)
  np.testing.assert_array_equal(total, expected)
  with pytest.raises(ValueError, match="metadata with 10 entries"):
    match_counts.total([tmp_path / "part"], 10)


def test_captions_of_an_image_are_drawn_for_each_alone(tmp_path, metadata):
  np.save(tmp_path / "misses.npy", np.full(6, 0.5))
  context = operators.StepContext(tmp_path, tmp_path, tmp_path)
  decide = balance(metadata).open(context)

  def keep(captions):
    numbers = np.arange(1000)
    return decide(
      pa.table(
        {
          "uid": pa.array([b"%016d" % i for i in numbers], pa.binary(16)),
          "row": numbers << 16 | captions,
          "matches": pa.array([[0]] * 1000, pa.list_(pa.uint32())),
        }
      )
    ).keep

  first, second = keep(0), keep(1)
  mixed = keep(np.arange(1000) % 2)
  assert (mixed == np.where(np.arange(1000) % 2, second, first)).all()
  # Half are kept of each, a quarter by both: 250, 3 sigma of which are 41.
  assert abs(np.count_nonzero(first & second) - 250) < 41


@pytest.mark.parametrize(
  ("make", "fields", "message"),
  [
    (match, {"mode": "exact"}, "steps.x.mode must be one of parity, fixed"),
    (match, {"ends": ""}, "steps.x.ends must be one of both, by_script"),
    (match, {"language": ""}, "steps.x.language must name a column"),
    (match, {"metadata": "no"}, "steps.x.metadata: .* there is no 'no'"),
    (balance, {"t": -1}, "steps.x.t must be"),
    (balance, {"t": 0, "tail_mass": 1.0}, "steps.x.tail_mass must be in"),
    (balance, {"t_language": "fr"}, "steps.x.t_language must be a language"),
    (balance, {"t": 0, "t_language": "en"}, "needs its t"),
    (balance, {"t_rule": ""}, "steps.x.t_rule must be one of inverse"),
    (balance, {"keep": ""}, "steps.x.keep must be one of drawn, all"),
  ],
)
def test_refuses_what_cannot_be(metadata, make, fields, message):
  with pytest.raises(ValueError, match=message):
    make(metadata, **fields).check("steps.x")


def test_an_entry_that_is_there_twice_is_found_before_anything_is_done(
  tmp_path,
):
  (tmp_path / "ja.txt").write_text("山\n山\n")
  with pytest.raises(ValueError, match="x.metadata: ja: the metadata .*'山'"):
    match(str(tmp_path)).check("x")


def test_the_operators_can_be_named():
  ops = {"metaclip_match", "metaclip_balance", "entry_counts", "language"}
  assert ops <= set(rules.OPERATORS)
