"""Several sources: proportions, repeats, and places far into the stream."""

import collections
import itertools

import numpy as np
import pytest

from input_pipeline import mixture, pipeline, sources
from tests.input_pipeline import fake_source


def test_union_has_each_example_as_often_as_it_says():
  union = mixture.Union([4, 7], [3, 5], [2, 1])
  assert len(union) == 11
  counts = collections.Counter(union[i] for i in range(len(union)))
  assert counts == {(4, i): 2 for i in range(3)} | {(7, i): 1 for i in range(5)}


def test_weights_are_exact_over_every_stretch():
  weights = [0.1, 0.6, 0.3]
  streams = [[(i, j) for j in range(700)] for i in range(3)]
  order = mixture.Weighted(streams, weights)
  counts = collections.Counter()
  for k in range(1000):
    source, index = order[k]
    assert index == counts[source]  # each stream in its own order, no gap
    counts[source] += 1
    for i, weight in enumerate(weights):
      assert abs(counts[i] - (k + 1) * weight) < len(weights)
  assert counts == {0: 100, 1: 600, 2: 300}


def test_one_weight_is_the_stream_itself():
  order = mixture.Weighted([[(0, j) for j in range(9)]], [0.25])
  assert [order[k] for k in range(9)] == [(0, j) for j in range(9)]


def test_share_names_its_places():
  share = mixture.Share([(0, i) for i in range(11)], 4, (1, 3))
  assert len(share) == 4
  assert [tuple(share[i]) for i in range(4)] == [
    (1, 0, 1),
    (3, 0, 3),
    (5, 0, 5),
    (7, 0, 7),
  ]


@pytest.mark.parametrize("length", [60_000, 10**9, 4 * 10**9, 10**12])
def test_neighbours_in_the_stream_are_strangers(length, monkeypatch, tmp_path):
  """Grain's shuffle alone leaves them correlated; see mixture.SHUFFLED_ONCE."""
  orders = []
  share = mixture.Share
  monkeypatch.setattr(
    mixture, "Share", lambda *args: orders.append(args[0]) or share(*args)
  )
  records = fake_source.Records("a", length)
  config = _data(monkeypatch, tmp_path, {"a": records})
  pipeline.make_train_dataset(config, batch_size=6, seed=3)
  drawn = np.array([orders[0][i][1] for i in range(1000)], np.float64)
  assert len(set(drawn)) == 1000
  # Five standard deviations: 1 / sqrt(1000) of a correlation, 9.5 of how many
  # of 1,000 are in a tenth of the range.
  for distance in (1, 2, 16):
    both = np.corrcoef(drawn[:-distance], drawn[distance:])
    assert abs(both[0, 1]) < 0.16
  counts = np.histogram(drawn, 10, (0, length))[0]
  assert (abs(counts - 100) < 48).all()


def test_a_long_epoch_has_each_example_once(monkeypatch, tmp_path):
  monkeypatch.setattr(mixture, "SHUFFLED_ONCE", 10)
  config = _data(monkeypatch, tmp_path, {"a": fake_source.Records("a", 36)})
  stream = fake_source.captions(config, _batches(config, 12))
  assert len(set(stream[:36])) == len(set(stream[36:])) == 36
  assert stream[:36] != stream[36:]


def _data(monkeypatch, tmp_path, opened, fields=None, **changes):
  monkeypatch.setitem(sources.FORMATS, "fake", fake_source.format_of(opened))
  return fake_source.config(tmp_path, opened, fields, **changes)


def _batches(config, num, **options):
  dataset = pipeline.make_train_dataset(config, batch_size=6, seed=0, **options)
  return list(itertools.islice(dataset, num))


def test_an_epoch_of_two_sources(monkeypatch, tmp_path):
  opened = {n: fake_source.Records(n, k) for n, k in (("a", 3), ("b", 6))}
  config = _data(monkeypatch, tmp_path, opened, {"a": {"repeat": 4}})
  stream = fake_source.captions(config, _batches(config, 6))
  for epoch in (stream[:18], stream[18:]):
    counts = collections.Counter(epoch)
    assert counts == {f"a {i}": 4 for i in range(3)} | {
      f"b {i}": 1 for i in range(6)
    }
  assert stream[:18] != stream[18:]


def test_the_order_of_the_config_does_not_matter(monkeypatch, tmp_path):
  opened = {n: fake_source.Records(n, k) for n, k in (("a", 3), ("b", 6))}
  config = _data(monkeypatch, tmp_path, opened)
  one = _batches(config, 3, opened=opened)
  other = _batches(config, 3, opened=dict(reversed(opened.items())))
  for left, right in zip(one, other, strict=True):
    np.testing.assert_array_equal(left["tokens"], right["tokens"])


def test_weighted_sources(monkeypatch, tmp_path):
  opened = {n: fake_source.Records(n, k) for n, k in (("a", 5), ("b", 100))}
  fields = {"a": {"weight": 2.0}, "b": {"weight": 1.0}}
  config = _data(monkeypatch, tmp_path, opened, fields)
  stream = fake_source.captions(config, _batches(config, 25))
  assert sum(text.startswith("a") for text in stream) == 100
  # 100 draws of "a" are 20 epochs of it, each with all five.
  of_a = [text for text in stream if text.startswith("a")]
  for start in range(0, 100, 5):
    assert len(set(of_a[start : start + 5])) == 5
  # 50 of "b" are half an epoch: none twice.
  assert len({text for text in stream if text.startswith("b")}) == 50


def test_shares_and_resume_of_a_mixture(monkeypatch, tmp_path):
  opened = {n: fake_source.Records(n, k) for n, k in (("a", 5), ("b", 100))}
  fields = {"a": {"weight": 0.7}, "b": {"weight": 0.3}}
  config = _data(monkeypatch, tmp_path, opened, fields)
  alone = _batches(config, 7)
  half = iter(
    pipeline.make_train_dataset(config, batch_size=6, seed=0, rows=(1, 2, 5))
  )
  half.set_state({"next_index": 4})
  for batch in alone[4:]:
    got = next(half)
    for name in ("images", "tokens"):
      np.testing.assert_array_equal(got[name], batch[name][[1, 2, 5]])


def test_a_subset_of_one_source(monkeypatch, tmp_path):
  opened = {n: fake_source.Records(n, 9) for n in ("a", "b")}
  np.save(tmp_path / "ids.npy", np.sort(opened["a"].uids()[[2, 5, 7]]))
  fields = {"a": {"subset": str(tmp_path / "ids.npy"), "repeat": 3}}
  config = _data(monkeypatch, tmp_path, opened, fields)
  counts = collections.Counter(
    fake_source.captions(config, _batches(config, 3))
  )
  assert counts == {f"a {i}": 3 for i in (2, 5, 7)} | {
    f"b {i}": 1 for i in range(9)
  }


def test_repeat_beside_weights(monkeypatch, tmp_path):
  opened = {"a": fake_source.Records("a", 5)}
  fields = {"a": {"weight": 1.0, "repeat": 2}}
  config = _data(monkeypatch, tmp_path, opened, fields)
  with pytest.raises(ValueError, match=r"repeat must be 1 beside .*'a': 2"):
    config.check()


def test_templates(monkeypatch, tmp_path):
  opened = {n: fake_source.Records(n, 4) for n in ("a", "b")}
  templates = ("photo {}", "{} drawn")
  config = _data(monkeypatch, tmp_path, opened, {"a": {"templates": templates}})
  counts = collections.Counter(
    fake_source.captions(config, _batches(config, 20))
  )
  for i in range(4):
    # 15 draws: one template throughout has a chance of 2 / 2**15.
    forms = {f"photo a {i}", f"a {i} drawn"}
    assert forms <= set(counts)
    assert sum(counts[form] for form in forms) == counts[f"b {i}"] == 15


def test_a_thousand_million_examples_cost_what_ten_do(monkeypatch, tmp_path):
  """By counting: what is read to go on in the middle is one batch."""
  records = fake_source.Records("a", 10**9)
  config = _data(monkeypatch, tmp_path, {"a": records}, num_threads=0)
  dataset = pipeline.make_train_dataset(config, batch_size=6, seed=0)
  iterator = iter(dataset)
  iterator.set_state({"next_index": 10**8 // 6})
  num_probed = len(records.touched)
  assert num_probed <= 4  # a caption and an image, at each opening
  next(iterator)
  assert len(records.touched) == num_probed + 6
  assert max(records.touched) > 10**6
