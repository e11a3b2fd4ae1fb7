import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from evaluators import retrieval
from evaluators.metrics import classification


def random_scores(seed, n=300, num_classes=12, *, grid=False):
  """Scores that favour the label, without and with ties; rare classes."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, num_classes - 2, n) // rng.integers(1, 3, n)
  score = rng.normal(size=(n, num_classes)).astype(np.float32)
  score[np.arange(n), label] += 1.5
  return (np.round(score) if grid else score), label


def slow_rank(row, label):
  rivals = np.delete(row, label)
  above = sum(s > row[label] + classification.TIE for s in rivals)
  tied = sum(abs(s - row[label]) <= classification.TIE for s in rivals)
  return 1 + above + tied / 2


@pytest.mark.parametrize("sizes", [[300], [1, 299], [100] * 3])
@pytest.mark.parametrize("grid", [False, True])
def test_ranks_and_predictions(sizes, grid, monkeypatch):
  monkeypatch.setattr(classification, "_NUM_SCORES", 7 * 12)
  score, label = random_scores(0, grid=grid)
  blocks = np.split(score, np.cumsum(sizes)[:-1])
  answers = classification.judge(blocks, label)
  want = [slow_rank(*item) for item in zip(score, label, strict=True)]
  np.testing.assert_array_equal(answers.rank_N, want)
  assert (answers.rank_N % 1 == 0.5).any() == grid
  # The prediction has the highest score, and is the label only if it is right.
  predicted = score[np.arange(300), answers.predicted_N]
  np.testing.assert_array_equal(predicted, score.max(axis=1))
  np.testing.assert_array_equal(
    answers.predicted_N == label, answers.rank_N <= 1
  )


def test_ranks_are_those_of_retrieval():
  rng = np.random.default_rng(0)
  zimg, zclass = (rng.integers(-2, 3, (n, 3)).astype(float) for n in (50, 8))
  label = rng.integers(0, 8, 50)
  want = retrieval.reference(zimg, zclass, label_Q=label, label_M=np.arange(8))
  blocks = classification.similarities(zimg, zclass, num_rows=16)
  got = classification.judge(blocks, label).rank_N
  np.testing.assert_array_equal(got, want)
  assert (got % 1 == 0.5).any()


@pytest.mark.parametrize("seed", range(20))
def test_figures_equal_sklearn(seed):
  score, label = random_scores(seed, n=100)
  answers = classification.judge([score], label)
  got = classification.figures(answers)
  predicted = score.argmax(axis=1)
  classes = range(score.shape[1])
  # WILDS, and with it DataComp, averages over the labels of y_true.
  args = {"y_true": label, "y_pred": predicted, "zero_division": 0}
  present = {"labels": np.unique(label)}
  want = {
    "num_classes": 12,
    "num_examples": 100,
    "top_1": sklearn_metrics.accuracy_score(label, predicted),
    "top_5": sklearn_metrics.top_k_accuracy_score(
      label, score, k=5, labels=classes
    ),
    "mean_per_class": sklearn_metrics.recall_score(
      **args, **present, average="macro"
    ),
    "macro_f1": sklearn_metrics.f1_score(**args, **present, average="macro"),
    "weighted_f1": sklearn_metrics.f1_score(**args, average="weighted"),
  }
  assert got == pytest.approx(want, rel=1e-12)
  assert len(present["labels"]) < 12, "every class has examples"
  table = classification.per_class(label, answers.predicted_N, 12)
  precision, recall, f1, n = sklearn_metrics.precision_recall_fscore_support(
    label, predicted, labels=classes, zero_division=np.nan
  )
  np.testing.assert_allclose(table["recall"], recall)
  np.testing.assert_allclose(table["precision"], precision)
  np.testing.assert_allclose(table["f1"], f1)
  np.testing.assert_array_equal(table["n"], n)


def f1_of_datacomp(predicted, label):
  """Mean of 2 P R / (P + R), over the classes of the labels."""
  total, classes = 0.0, sorted(set(label.tolist()))
  for c in classes:
    hits = int(((predicted == c) & (label == c)).sum())
    if hits:
      precision = hits / int((predicted == c).sum())
      recall = hits / int((label == c).sum())
      total += 2 * precision * recall / (precision + recall)
  return total / len(classes)


def test_macro_f1_equals_datacomp_on_1000_cases():
  rng = np.random.default_rng(0)
  for _ in range(1000):
    num_classes, n = rng.integers(2, 20), rng.integers(1, 60)
    label, predicted = rng.integers(0, num_classes, (2, n))
    predicted = np.where(rng.random(n) < rng.random(), label, predicted)
    table = classification.per_class(label, predicted, num_classes)
    got = classification.macro_f1(
      table["n"], table["predicted"], table["right"]
    )
    assert got == pytest.approx(f1_of_datacomp(predicted, label), rel=1e-12)


def test_equal_scores_are_not_right():
  label = np.arange(10) % 5
  answers = classification.judge([np.ones((10, 5), np.float32)], label)
  got = classification.figures(answers)
  assert got["top_1"] == got["mean_per_class"] == got["macro_f1"] == 0
  # The middle of five classes.
  assert got["top_5"] == 1
  np.testing.assert_array_equal(answers.rank_N, np.full(10, 3.0))


def test_nan_counts_against_the_example():
  score = np.full((3, 4), np.nan, np.float32)
  score[1] = [0.1, 0.9, np.nan, 0.2]
  score[2] = [0.9, np.nan, 0.1, 0.2]
  answers = classification.judge([score], np.array([0, 1, 1]))
  np.testing.assert_array_equal(answers.rank_N, [4, 2, 4])
  assert not answers.right().any()


@pytest.mark.parametrize("num_classes", [4, 5])
def test_top_5_needs_five_classes(num_classes):
  score, label = random_scores(0, num_classes=num_classes)
  figures = classification.figures(classification.judge([score], label))
  chance = classification.chance(label, num_classes)
  assert ("top_5" in figures) == ("top_5" in chance) == (num_classes >= 5)


# Examples of each class, and the random scores of DataComp's list of tasks.
MNIST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
SVHN = (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595)


@pytest.mark.parametrize(
  ("counts", "want"), [(MNIST, 0.10035), (SVHN, 0.117897), ((50,) * 47, 1 / 47)]
)
def test_chance_is_the_random_score_of_datacomp(counts, want):
  label = np.repeat(np.arange(len(counts)), counts)
  got = classification.chance(label, len(counts))
  assert got["proportional"] == pytest.approx(want, abs=1e-6)
  assert got["majority"] == max(counts) / sum(counts)
  assert got["top_1"] == got["mean_per_class"] == 1 / len(counts)


def test_chance_is_the_mean_of_random_answers():
  rng = np.random.default_rng(0)
  label = rng.choice(6, 20_000, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
  score = rng.random((20_000, 6)).astype(np.float32)
  got = classification.figures(classification.judge([score], label))
  for name, want in classification.chance(label, 6).items():
    if name in got:
      # Four standard errors of the rarest class's recall, 1,000 examples.
      assert got[name] == pytest.approx(want, abs=0.05), name


def test_confusion_equals_sklearn():
  score, label = random_scores(3)
  predicted = classification.judge([score], label).predicted_N
  dense = np.zeros((12, 12), int)
  rows, columns, counts = classification.confusion(label, predicted)
  dense[rows, columns] = counts
  np.testing.assert_array_equal(
    dense,
    sklearn_metrics.confusion_matrix(label, predicted, labels=range(12)),
  )
  pairs = classification.most_confused(label, predicted, num_pairs=5)
  np.fill_diagonal(dense, 0)
  assert [pair["count"] for pair in pairs] == sorted(dense.ravel())[:-6:-1]
  for pair in pairs:
    assert dense[pair["label"], pair["predicted"]] == pair["count"]
    assert pair["share"] == pair["count"] / (label == pair["label"]).sum()


def test_no_example_is_confused_by_a_perfect_model():
  label = np.arange(6)
  assert classification.most_confused(label, label) == []


@pytest.mark.parametrize(
  ("blocks", "label", "message"),
  [
    ([np.eye(3)], [0, 1, 3], r"0 to 2.* got 3 \(1 of 3"),
    ([np.eye(3)], [0, -1, 1], r"0 to 2.* got -1"),
    ([np.eye(3)], [0, 1], "each of 2 labels; got 3"),
    ([np.eye(3)], [0, 1, 2, 0], "each of 4 labels; got 3"),
    ([np.eye(3), np.eye(4)], [0] * 7, "3 classes.*got 4"),
    ([], [], "at least one"),
  ],
)
def test_refusals(blocks, label, message):
  with pytest.raises(ValueError, match=message):
    classification.judge(blocks, np.array(label))
