import numpy as np
import pytest

from evaluators.metrics import classification, groups


def test_by_group():
  got = groups.by_group(
    np.array([1, 0, 1, 1]), np.array([2, 2, 0, 2]), ["a", "b", "c"]
  )
  np.testing.assert_array_equal(got.n_G, [1, 0, 3])
  np.testing.assert_allclose(got.mean_G, [1, np.nan, 2 / 3])
  assert [row["name"] for row in got.rows()] == ["a", "c"]
  low, high = got.rows()[1]["interval"]
  # Wilson's interval of 2 of 3.
  assert (round(low, 4), round(high, 4)) == (0.2077, 0.9385)


def worst_of_datacomp(right, region, names):
  """Loop of FMoWEvaluator.eval in eval_utils/wilds_eval.py."""
  figures = []
  for index in range(region.max() + 1):
    count = (region == index).sum()
    if count == 0 or "Other" in names[index]:
      continue
    figures.append(right[region == index].mean())
  return min(figures)


def test_worst_group_equals_datacomp_on_1000_cases():
  rng = np.random.default_rng(0)
  for _ in range(1000):
    num_groups, n = int(rng.integers(2, 8)), int(rng.integers(5, 80))
    names = [f"region {i}" for i in range(num_groups - 1)] + ["Other"]
    names = rng.permutation(names).tolist()
    region = rng.choice(num_groups, n, p=rng.dirichlet(np.ones(num_groups)))
    region[0] = names.index(next(name for name in names if name != "Other"))
    right = rng.random(n) < rng.random(num_groups)[region]
    got = groups.worst(
      groups.by_group(right, region, names),
      groups.RULES["wilds/fmow"].left_out,
    )
    assert got["mean"] == worst_of_datacomp(right, region, names)
    assert got["n"] == (region == names.index(got["name"])).sum()


def test_other_is_left_out_by_name_alone():
  right, region = np.array([1, 1, 0]), np.array([0, 1, 2])
  left_out = groups.RULES["wilds/fmow"].left_out
  named = groups.by_group(right, region, ["Asia", "Europe", "Other"])
  assert groups.worst(named, left_out)["mean"] == 1
  assert groups.worst(groups.by_group(right, region), left_out)["mean"] == 0


def test_dollar_street_counts_the_five_best():
  rng = np.random.default_rng(0)
  score = rng.normal(size=(400, 58)).astype(np.float32)
  label, income = rng.integers(0, 58, 400), rng.integers(0, 4, 400)
  score[np.arange(400), label] += 1.5
  rule = groups.RULES["fairness/dollar_street"]
  answers = classification.judge([score], label)
  got = groups.worst(groups.by_group(answers.right(rule.k), income))
  # eval_utils/fairness_eval.py: TopKAccuracy, and the worst group.
  best = np.argsort(-score, axis=1)[:, :5]
  hit = (best == label[:, None]).any(axis=1)
  assert got["mean"] == min(hit[income == g].mean() for g in range(4))
  assert hit.mean() > (score.argmax(axis=1) == label).mean()


def test_gaps():
  table = groups.by_group(
    np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 1, 2, 2]), ["a", "b", "c"]
  )
  got = groups.gaps(table, ["c"])
  assert got == {"gap": 0.5, "ratio": 0.5, "deviation": 0.25}
  assert groups.gaps(table)["ratio"] == 0
  wrong = groups.by_group(np.zeros(2), np.arange(2))
  assert np.isnan(groups.gaps(wrong)["ratio"])


def test_gap_within_labels_does_not_see_a_difference_of_labels():
  """Two groups are as accurate on each label, but have other labels."""
  label = np.repeat([0, 0, 1, 1], [90, 10, 10, 90])
  attribute = np.repeat([0, 1, 0, 1], [90, 10, 10, 90])
  value = np.where(label == 0, np.arange(200) % 10 < 8, np.arange(200) % 10 < 2)
  overall = groups.gaps(groups.by_group(value, attribute))["gap"]
  assert overall == pytest.approx(0.48)
  got = groups.by_label(value, label, attribute)
  np.testing.assert_allclose(got["gap"], [0, 0], atol=1e-12)
  np.testing.assert_array_equal(got["n"], [[90, 10], [10, 90]])
  np.testing.assert_allclose(got["mean"], [[0.8, 0.8], [0.2, 0.2]])


def test_small_cells_do_not_count_in_a_gap():
  label = np.repeat([0, 0, 1, 1], [10, 9, 10, 10])
  attribute = np.repeat([0, 1, 0, 1], [10, 9, 10, 10])
  value = np.repeat([1.0, 0.0, 1.0, 0.5], [10, 9, 10, 10])
  got = groups.by_label(value, label, attribute)
  np.testing.assert_array_equal(got["gap"], [np.nan, 0.5])
  assert (got["mean_gap"], got["worst_label"]) == (0.5, 1)
  got = groups.by_label(value, label, attribute, min_examples=9)
  assert (got["mean_gap"], got["worst_label"]) == (0.75, 0)
  got = groups.by_label(value, label, attribute, min_examples=100)
  assert np.isnan(got["mean_gap"])
  assert got["worst_label"] == -1


def slow_shares(attributes, wanted, k):
  """Definitions of Geyik et al. for one ranking, written out."""

  def shares(best):
    return [list(best).count(g) / len(best) for g in range(len(wanted))]

  skews = [s / w for s, w in zip(shares(attributes[:k]), wanted, strict=True)]
  total = weights = 0.0
  for i in range(1, len(attributes) + 1):
    divergence = sum(
      s * np.log(s / w)
      for s, w in zip(shares(attributes[:i]), wanted, strict=True)
      if s
    )
    total += divergence / np.log2(i + 1)
    weights += 1 / np.log2(i + 1)
  return np.log(max(skews)), min(skews), total / weights


def test_shares_of_rankings():
  rng = np.random.default_rng(0)
  wanted = np.array([0.5, 0.3, 0.2])
  attribute = rng.choice(3, (20, 15), p=[0.2, 0.2, 0.6])
  got = groups.ranking_shares(attribute, wanted, ks=(1, 5, 15))
  for k in (1, 5, 15):
    rows = np.array([slow_shares(row, wanted, k) for row in attribute])
    assert got[f"max_skew@{k}"] == pytest.approx(rows[:, 0].mean())
    assert got[f"min_share@{k}"] == pytest.approx(rows[:, 1].mean())
    assert got["ndkl"] == pytest.approx(rows[:, 2].mean())
  share = np.array([np.bincount(row, minlength=3) for row in attribute]) / 15
  want = np.abs(share - wanted).max(axis=1).mean()
  assert got["gap@15"] == pytest.approx(want)


@pytest.mark.parametrize(
  ("share", "ks", "message"),
  [
    ([0.5, 0.6], [1], "add up to 1"),
    ([1.0, 0.0], [1], "above 0"),
    ([0.5, 0.5], [1, 4], "at most 3.* got 4"),
  ],
)
def test_shares_are_refused(share, ks, message):
  with pytest.raises(ValueError, match=message):
    groups.ranking_shares(np.zeros((2, 3), int), np.array(share), ks)


RACES = (
  "black",
  "white",
  "indian",
  "latino",
  "middle eastern",
  "southeast asian",
  "east asian",
)


def test_fairface_tables_are_those_of_datacomp():
  rng = np.random.default_rng(0)
  n = 2000
  race, gender, age = (rng.integers(0, k, n) for k in (7, 2, 9))
  attributes = {
    "race": race,
    "gender": gender,
    "age": age,
    "race_binary": (race != 1).astype(int),
  }
  predicted = {
    name: np.where(rng.random(n) < 0.7, truth, rng.integers(0, k, n))
    for name, truth, k in (
      ("race", race, 7),
      ("gender", gender, 2),
      ("age", age, 9),
    )
  } | {"toxic": rng.integers(0, 21, n)}
  got = groups.fairface(predicted, attributes, RACES)
  # eval_utils/fairness_eval.py and fairness_tables.py, a cell at a time.
  right = {
    "race": (predicted["race"] != 1).astype(int) == attributes["race_binary"],
    "gender": predicted["gender"] == gender,
    "age": predicted["age"] == age,
  }
  for objective, table in got["accuracy"].items():
    want = [
      right[objective][attributes["race_binary"] == b].mean() for b in (0, 1)
    ]
    np.testing.assert_allclose(table.mean_G[:2], want)
    assert table.mean_G[2] == right[objective].mean()
    assert table.names == ("white", "non-white", "overall")
  for i, name in enumerate(got["gender"].names):
    cell = (gender == i // 7) & (race == i % 7)
    assert name == f"{('male', 'female')[i // 7]}, {RACES[i % 7]}"
    assert got["gender"].n_G[i] == cell.sum()
    assert got["gender"].mean_G[i] == right["gender"][cell].mean()
  toxic = predicted["toxic"]
  flags = {"crime": toxic >= 18, "nonhuman": (toxic >= 14) & (toxic < 18)}
  for name, flag in flags.items():
    want = [flag[race == r].mean() for r in range(7)]
    np.testing.assert_allclose(got["toxic"][name].mean_G, want)
    assert got["toxic"][name].names == RACES


LINES = ["race:black", "race:white", "gender:male", "age:3-9", "toxic:a thief"]


def test_lines_of_objectives():
  got = groups.by_objective([*LINES, "toxic:a: b"], "classnames.txt")
  assert got["race"] == ["black", "white"]
  assert got["toxic"] == ["a thief", "a: b"]


@pytest.mark.parametrize(
  ("lines", "message"),
  [
    ([*LINES, "a face"], "classnames.txt .*'a face' in line 6"),
    ([*LINES, "mood:happy"], "objective of race, .*'mood:happy' in line 6"),
    (LINES[:3], "every objective; got none of age, toxic"),
  ],
)
def test_lines_are_refused(lines, message):
  with pytest.raises(ValueError, match=message):
    groups.by_objective(lines, "classnames.txt")


def test_refusals():
  with pytest.raises(ValueError, match="as many as the 2 examples; got 3"):
    groups.by_group(np.ones(2), np.zeros(3, int))
  with pytest.raises(ValueError, match="0 to 1.*; got 2"):
    groups.by_group(np.ones(2), np.array([0, 2]), ["a", "b"])
  with pytest.raises(ValueError, match="at least one .*Other"):
    groups.worst(groups.by_group([1], [0], ["Other"]), ["Other"])
