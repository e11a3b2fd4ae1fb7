"""Shares of languages, places and terms, against a loop over the pairs."""

import dataclasses
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import operators, pool, recipe, runner
from curation.engine import engines
from curation.outputs import curation_page, manifest
from curation.rules import language
from curation.shares import caption_labels
from evaluators.metrics import intervals
from runtime.storage import mirror
from tests.curation import synth

TEXTS = (
  *(
    "a woman in France",
    "two men",
    "paris, france",
    "a red car",
    "Deutschland",
  ),
  *("the deaf man", "a black cat", "in the USA"),
)
NUM = 90
CODES = ("en", "fr", "en-US", "de")


@dataclasses.dataclass(frozen=True)
class Multiples(operators.Filter):
  """Drop the pairs whose number is a multiple; say a language."""

  of: int
  columns = ("number",)

  def open(self, context):
    return lambda table: operators.Verdict(
      table["number"].to_numpy() % self.of != 0
    )


STEPS = {"fives": Multiples(5), "threes": Multiples(3)}
COLUMNS = {
  "text": pa.array([TEXTS[i % len(TEXTS)] for i in range(NUM)]),
  "language": pa.array([CODES[i % 4] for i in range(NUM)]),
  "number": pa.array(range(NUM)),
}
LEFT = (
  range(NUM),
  [i for i in range(NUM) if i % 5],
  [i for i in range(NUM) if i % 5 and i % 3],
)


@pytest.fixture(autouse=True)
def _no_page(monkeypatch):
  monkeypatch.setattr(curation_page, "write", lambda *args, **fields: None)


def curate(folder, columns=COLUMNS, steps=STEPS, rows=None, **fields):
  """Return the manifest of a curation, and its comparable fields."""
  section = {"language_field": "language"} | fields.pop("section", {})
  config = pool.PoolConfig(
    *("parquet", "", (), (), "en", section["language_field"], "")
  )
  recipe_ = recipe.Recipe(config, str(folder / "cache"), 1, steps, **fields)
  pool_ = synth.Pool(pa.table(columns), rows or synth.in_other_shards(NUM))
  made = runner.curate(recipe_, pool_, folder / "work", engines.Inline())
  return manifest.comparable(made)


def numbers(holds):
  return [sum(holds(i) for i in left) for left in LEFT]


def test_counts_are_those_of_a_loop(tmp_path):
  shares = curate(tmp_path)["shares"]
  assert shares["points"] == ["read", "fives", "threes"]
  assert shares["pairs"] == shares["sampled"] == numbers(lambda i: True)
  places = shares["places"]
  assert set(places["counts"]) == {"FR", "DE", "US"}
  assert places["counts"]["FR"] == numbers(lambda i: i % 8 in (0, 2))
  assert places["any"] == numbers(lambda i: i % 8 in (0, 2, 4, 7))
  gender = shares["terms"]["gender"]
  assert gender["counts"] == {
    "men": numbers(lambda i: i % 8 in (1, 5)),
    "women": numbers(lambda i: i % 8 == 0),
  }
  assert gender["any"] == numbers(lambda i: i % 8 in (0, 1, 5))
  assert shares["terms"]["ethnicity"] == {"any": [0, 0, 0], "counts": {}}
  assert shares["terms"]["disability"]["any"] == numbers(lambda i: i % 8 == 5)
  assert shares["languages"] == {
    "source": "pool",
    "counts": {
      "de": numbers(lambda i: i % 4 == 3),
      "en": numbers(lambda i: i % 4 in (0, 2)),
      "fr": numbers(lambda i: i % 4 == 1),
    },
  }
  assert "intervals" not in places


class Reversed(synth.Pool):
  @property
  def shards(self):
    return super().shards[::-1]


def test_the_order_of_shards_changes_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(caption_labels, "NUM_SAMPLED", 40)
  monkeypatch.setattr(caption_labels, "NUM_OF_SHARD", 1)
  made = curate(tmp_path / "0")["shares"]
  assert made["sampled"][0] < made["pairs"][0]
  monkeypatch.setattr(synth, "Pool", Reversed)
  assert curate(tmp_path / "1")["shares"] == made


def test_a_large_pool_is_sampled_by_uid(tmp_path, monkeypatch):
  monkeypatch.setattr(caption_labels, "NUM_SAMPLED", 40)
  monkeypatch.setattr(caption_labels, "NUM_OF_SHARD", 1)
  rows = [list(range(70)), list(range(70, NUM))]
  shares = curate(tmp_path, rows=rows)["shares"]
  assert shares["pairs"] == numbers(lambda i: True)
  uids = np.array([synth.uid(i) for i in range(NUM)], "S32")
  halves = np.array(
    [(int(u[:16], 16), int(u[16:], 16)) for u in uids], pool_dtype()
  )
  # Each shard looks at its 20 lowest, of which the highest is the bound.
  draws = caption_labels.draws(halves, np.r_[:70, :20])
  bound = min(np.sort(draws[:70])[19], np.sort(draws[70:])[19])
  in_sample = draws < bound
  expected = numbers(lambda i: bool(in_sample[i]))
  assert shares["sampled"] == expected
  assert 10 < expected[0] < 40
  women = numbers(lambda i: in_sample[i] and i % 8 == 0)
  gender = shares["terms"]["gender"]
  assert gender["counts"]["women"] == women
  wilson = intervals.wilson(np.array(women), np.array(expected)).round(6)
  assert gender["intervals"]["counts"]["women"] == wilson.tolist()
  # All pairs have a language.
  assert shares["languages"]["counts"]["fr"] == numbers(lambda i: i % 4 == 1)


def pool_dtype():
  return np.dtype([("f0", "<u8"), ("f1", "<u8")])


def test_a_sample_that_is_pruned_is_that_of_the_lowest(tmp_path):
  rng = np.random.default_rng(1)
  halves = np.zeros(5000, pool_dtype())
  halves["f1"] = rng.permutation(5000)
  rows = np.arange(5000) << pool.CAPTION_BITS
  draws = caption_labels.draws(halves, rows)
  table = pa.table(
    {
      "uid": pool.uid_column(halves),
      "row": rows,
      "text": ["a woman" if d % 2 else "a car" for d in draws.tolist()],
    }
  )
  parts = [table.slice(start, 350) for start in range(0, 5000, 350)]
  caption_labels.write(tmp_path / "a.parquet", parts, 60, mirror.Mirror())
  assert caption_labels.bound(tmp_path / "a.parquet") == np.sort(draws)[59]
  made = pq.read_table(tmp_path / "a.parquet")["labels"].to_pylist()
  chosen = draws <= np.sort(draws)[59]
  assert [row is not None for row in made] == chosen.tolist()
  has = [bool(row) for row in made]
  assert has == (chosen & (draws % 2 == 1)).tolist()


def test_older_curations_read_their_captions_again(tmp_path):
  made = curate(tmp_path)
  (folder,) = (tmp_path / "work/stages").glob("00-*/shares-*")
  shutil.rmtree(folder)
  (tmp_path / "work/manifest.json").unlink()
  assert curate(tmp_path) == made


def test_what_was_counted_is_not_counted_again(tmp_path, monkeypatch):
  made = curate(tmp_path)
  (folder,) = (tmp_path / "work/stages").glob("00-*/shares-*")
  shutil.rmtree(folder)
  assert curate(tmp_path) == made
  assert not folder.exists()


def test_shares_can_be_left_out_and_come_later(tmp_path):
  without = curate(tmp_path, report_shares=False)
  assert "shares" not in without
  assert not list((tmp_path / "work/stages").glob("*/shares-*"))
  (tmp_path / "work" / runner.REPORT).touch()
  later = curate(tmp_path)
  # The report is drawn anew.
  assert not (tmp_path / "work" / runner.REPORT).exists()
  assert later == curate(tmp_path / "new")
  assert later["kept_sha256"] == without["kept_sha256"]
  assert "shares" not in curate(tmp_path, report_shares=False)


def test_one_language_declared_for_all_is_not_known(tmp_path):
  columns = COLUMNS | {"language": pa.array(["en"] * NUM)}
  section = {"language_field": ""}
  shares = curate(tmp_path, columns, section=section)["shares"]
  assert shares["languages"] == {
    "source": "not known",
    "counts": {"not known": numbers(lambda i: True)},
  }


def test_captions_that_name_their_languages_have_them(tmp_path):
  shares = curate(tmp_path, section={"language_field": ""})["shares"]
  assert shares["languages"]["source"] == "pool"


@dataclasses.dataclass(frozen=True)
class Identified(operators.Filter):
  """Say that every other caption is French."""

  columns = ("number",)
  signals = ("spoken",)

  def open(self, context):
    return lambda table: operators.Verdict(
      None,
      {
        "spoken": pa.array(
          ["fr" if n % 2 else "en" for n in table["number"].to_pylist()]
        )
      },
    )


def test_identified_languages_begin_at_their_step(tmp_path, monkeypatch):
  monkeypatch.setattr(language, "Language", Identified)
  steps = {
    "fives": Multiples(5),
    "identify": Identified(),
    "threes": Multiples(3),
  }
  columns = COLUMNS | {"language": pa.array(["en"] * NUM)}
  shares = curate(tmp_path, columns, steps, section={"language_field": ""})
  counts = numbers(lambda i: i % 2 == 1)
  assert shares["shares"]["languages"] == {
    "source": "identify",
    "counts": {
      "en": [None, *(numbers(lambda i: i % 2 == 0)[k] for k in (1, 1, 2))],
      "fr": [None, counts[1], counts[1], counts[2]],
    },
  }
