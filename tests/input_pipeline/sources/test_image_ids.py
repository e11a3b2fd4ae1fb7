"""Names of images, beside a union-find that joins one pair at a time."""

import collections

import numpy as np
import pytest

from input_pipeline.sources import image_ids
from input_pipeline.storage import uids as uids_lib


def test_names_stay_what_they_are():
  """Another name would hold out other images of a run that is evaluated."""
  assert image_ids.of_bytes(b"a").hex() == "91d5fb0acd9d7daad6648150c73662d6"
  url = "https://example.com/a b.jpg"
  assert image_ids.of_address(url).hex() == "8de23a6fbdb8d530214e0b3cdfec6e48"


@pytest.mark.parametrize(
  "url",
  [
    "http://example.com/a%20b.jpg?w=1",
    "https://EXAMPLE.com:443/a b.jpg?w=1#top",
    "HTTPS://user:password@example.com//a%20b.jpg?w=1",
  ],
)
def test_spellings_of_an_address(url):
  wanted = image_ids.of_address("https://example.com/a b.jpg?w=1")
  assert image_ids.of_address(url) == wanted


@pytest.mark.parametrize(
  "url",
  [
    "https://example.com/a b.jpg",
    "https://example.com/A b.jpg?w=1",
    "https://example.com:8080/a b.jpg?w=1",
    "https://example.org/a b.jpg?w=1",
    "https://example.com/a b.jpg?w=2",
  ],
)
def test_other_addresses(url):
  wanted = image_ids.of_address("https://example.com/a b.jpg?w=1")
  assert image_ids.of_address(url) != wanted


def _linked(ids, uids):
  """Return the sets of rows that a union-find makes."""
  parent = list(range(len(ids)))

  def root(row):
    while parent[row] != row:
      row = parent[row]
    return row

  for names in (ids.tolist(), [uid or None for uid in uids]):
    first = {}
    for row, name in enumerate(names):
      if name is not None:
        parent[root(row)] = root(first.setdefault(name, row))
  groups = collections.defaultdict(set)
  for row in range(len(ids)):
    groups[root(row)].add(row)
  return sorted(map(sorted, groups.values()))


@pytest.mark.parametrize("seed", range(8))
def test_linked(seed):
  rng = np.random.default_rng(seed)
  num = int(rng.integers(1, 200))
  images = rng.integers(0, num, num)
  ids = np.array(
    [image_ids.of_bytes(bytes([i])) for i in images.tolist()], image_ids.DTYPE
  )
  numbers = rng.integers(0, num, num)  # 0: no UID
  uids = np.zeros(num, uids_lib.UID)
  uids["f1"] = numbers
  made = image_ids.linked(ids, uids)
  wanted = _linked(ids, numbers.tolist())
  groups = collections.defaultdict(list)
  for row, name in enumerate(made.tolist()):
    groups[name].append(row)
  assert sorted(groups.values()) == wanted
  for rows in wanted:
    # An image that no UID links to another keeps the name it has everywhere.
    if len({ids[row] for row in rows}) == 1:
      assert made[rows[0]] == ids[rows[0]]
  order = rng.permutation(num)
  np.testing.assert_array_equal(
    image_ids.linked(ids[order], uids[order]), made[order]
  )


def test_large_groups_are_not_held_out_more_often():
  """The lowest of ten names is in the lowest tenth with 0.65."""
  num = 2000
  ids = np.array(
    [image_ids.of_bytes(b"%d" % i) for i in range(10 * num)], image_ids.DTYPE
  )
  uids = np.zeros(10 * num, uids_lib.UID)
  uids["f1"] = 1 + np.arange(10 * num) // 10
  high, _ = uids_lib.halves(image_ids.linked(ids, uids))
  share = np.mean(high < 2**64 // 10)
  assert abs(share - 0.1) < 4 * np.sqrt(0.09 / num)
