"""Cuts at a value and at a fraction: DataComp's, on the boundary too."""

import numpy as np
import pyarrow as pa
import pytest

from curation.rules import cuts
from tests.curation import synth


def column(values):
  return {"score": pa.array(values, pa.float32())}


def kept(tmp_path, values, step, shards=None):
  shards = shards or [list(range(len(values)))]
  name = f"case{len(list(tmp_path.iterdir()))}"
  return synth.kept(tmp_path, name, column(values), {"cut": step}, shards)


def test_threshold_is_kept(tmp_path):
  values = [0.28, 0.27999, 0.29, None, float("nan"), -1.0]
  rows, _ = kept(tmp_path, values, cuts.Threshold("score", 0.28))
  assert rows == [0, 2]


def test_thresholds_are_of_the_columns_type():
  below = np.nextafter(0.28, 0)
  decide = cuts.Threshold("score", 0.28).open(None)
  for kind, expected in ((pa.float64(), False), (pa.float32(), True)):
    table = pa.table({"score": pa.array([below, 0.28, None], kind)})
    assert decide(table).keep.tolist() == [expected, True, False]


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_fraction_is_datacomps(tmp_path, fraction):
  values = np.random.default_rng(0).normal(size=101).astype(np.float32)
  values[7] = values[11] = values[50]
  step = cuts.TopFraction("score", fraction, False)
  rows, manifest = kept(tmp_path, values, step)
  descending = np.sort(values)[::-1]
  index = int(len(values) * fraction)
  cut = descending[index] if index < len(values) else -np.inf
  assert rows == np.flatnonzero(values >= cut).tolist()
  again, _ = kept(tmp_path, values, step, synth.in_other_shards(101))
  assert again == rows
  facts = manifest["steps"][0]["facts"]
  assert sum(facts["histogram"]["counts"]) == facts["num_scores"] == 101
  assert len(facts["histogram"]["edges"]) == cuts.NUM_BINS + 1


def test_pairs_without_a_score_do_not_count(tmp_path):
  values = [*range(10), None, float("nan"), None]
  rows, manifest = kept(tmp_path, values, cuts.TopFraction("score", 0.3, False))
  # int(10 * 0.3) = 3: the fourth from above, and what is above it.
  assert rows == [6, 7, 8, 9]
  assert manifest["steps"][0]["facts"]["num_without"] == 3


@pytest.mark.parametrize(
  ("raw", "expected"),
  # Index 10 of 20 scores has 9; index 6 of the 13 scores up to 12 has 6.
  [(True, [9, 10, 11, 12]), (False, [6, 7, 8, 9, 10, 11, 12])],
)
def test_of_all_pairs_or_of_those_left(tmp_path, raw, expected):
  columns = column(np.arange(20.0)) | {"below": pa.array(-np.arange(20.0))}
  steps = {
    "low": cuts.Threshold("below", -12.0),
    "top": cuts.TopFraction("score", 0.5, raw),
  }
  rows, _ = synth.kept(tmp_path, "one", columns, steps, [list(range(20))])
  assert rows == expected


def test_equal_scores_have_a_histogram(tmp_path):
  rows, manifest = kept(
    tmp_path, [2.0] * 5, cuts.TopFraction("score", 0.2, False)
  )
  assert rows == [0, 1, 2, 3, 4]
  assert sum(manifest["steps"][0]["facts"]["histogram"]["counts"]) == 5


@pytest.mark.parametrize(
  ("step", "message"),
  [
    (cuts.TopFraction("s", 0.0, False), "fraction must be above 0"),
    (cuts.TopFraction("s", 15.0, False), "between 0 and 1; got 15"),
    (cuts.TopFraction("", 0.5, False), r"steps\.cut\.column must name"),
    (cuts.Threshold("s", float("nan")), "threshold must be a number"),
  ],
)
def test_parameters_of_no_use(step, message):
  with pytest.raises(ValueError, match=message):
    step.check("steps.cut")


def test_text_is_no_score():
  with pytest.raises(ValueError, match="text is of string"):
    cuts.scores(pa.table({"text": ["a"]}), "text")
