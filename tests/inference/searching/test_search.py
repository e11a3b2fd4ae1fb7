"""Search of a gallery: ranks, folding, how results are written."""

import dataclasses
import json

import numpy as np
import pytest

from inference.searching import galleries, queries, search


def _gallery(z_NE, names="cat dog owl firefighter"):
  z_NE = np.asarray(z_NE, np.float32)
  z_NE /= np.linalg.norm(z_NE, axis=1, keepdims=True)
  listed = [
    galleries.Entry(f"/photos/{n}.png", name, str(n), "unseen_concept")
    for n, name in enumerate(names.split())
  ]
  return galleries.Listed(z_NE, listed, lambda row: None)


# "dog" is closer to "cat" than the others.
ANIMALS = _gallery([[1, 0, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
CAT = np.array([1, 0, 0, 0], np.float32)


def test_best_first():
  results = search.search(ANIMALS, CAT, 3)
  assert [x.entry.name for x in results] == ["cat", "dog", "owl"]
  assert [x.rank for x in results] == [1, 2, 3]
  assert [x.row for x in results] == [0, 1, 2]
  assert results[0].score == 1
  assert results[1].score == pytest.approx(0.2**0.5, rel=1e-6)


def test_more_results_than_pictures():
  assert len(search.search(ANIMALS, CAT, 100)) == 4
  assert len(search.search(ANIMALS, CAT, 100, fold=0.9)) == 4


@pytest.mark.parametrize(
  ("num", "fold", "message"),
  [
    (0, 0, "--num_results must be at least 1; got 0"),
    (1, 1.5, "--fold must be between 0 and 1; got 1.5"),
  ],
)
def test_wrong_numbers(num, fold, message):
  with pytest.raises(ValueError, match=message):
    search.search(ANIMALS, CAT, num, fold=fold)


def test_near_duplicates_are_named_by_the_best_of_them():
  """More of them than the search looks at first."""
  rng = np.random.default_rng(0)
  copies = CAT + 1e-3 * rng.standard_normal((200, 4))
  names = " ".join(["cat"] * 200 + ["dog", "owl"])
  gallery = _gallery([*copies, [0.5, 1, 0, 0], [0, 0, 1, 0]], names)
  plain = search.search(gallery, CAT, 3)
  assert [x.entry.name for x in plain] == ["cat"] * 3
  results = search.search(gallery, CAT, 3, fold=0.98)
  assert [x.entry.name for x in results] == ["cat", "dog", "owl"]
  assert [x.rank for x in results] == [1, 2, 3]
  assert [len(x.duplicates) for x in results] == [199, 0, 0]
  assert results[0].row == plain[0].row
  assert results[0].entry.path not in results[0].duplicates


def test_table_has_the_columns_that_are_known():
  results = search.search(ANIMALS, CAT, 3)
  lines = search.table(results).splitlines()
  assert [line.split() for line in lines] == [
    ["rank", "score", "name", "key", "split", "path"],
    ["1", "1.000", "cat", "0", "unseen", "concept", "/photos/0.png"],
    ["2", "0.447", "dog", "1", "unseen", "concept", "/photos/1.png"],
    ["3", "0.000", "owl", "2", "unseen", "concept", "/photos/2.png"],
  ]
  at = zip(lines, ("split", "unseen", "unseen", "unseen"), strict=True)
  assert len({line.index(split) for line, split in at}) == 1
  one_file = [dataclasses.replace(x, path="a.tar") for x in ANIMALS.listed]
  tar = galleries.Listed(ANIMALS.z_NE, one_file, ANIMALS.draw)
  header = search.table(search.search(tar, CAT, 3)).splitlines()[0]
  assert header.split() == ["rank", "score", "name", "key", "split"]
  files = galleries.Listed(
    ANIMALS.z_NE, [galleries.Entry("a.png", "a.png")] * 4, ANIMALS.draw
  )
  header = search.table(search.search(files, CAT, 1)).splitlines()[0]
  assert header.split() == ["rank", "score", "name", "path"]


def test_json():
  query = queries.Query.of_flags("cat", [], ["dog"], 1.0)
  results = search.search(ANIMALS, CAT, 1)
  got = json.loads(search.to_json(query, results, "sheet.png", {"model": {}}))
  assert got == {
    "query": "cat without dog",
    "parts": [{"text": "cat", "weight": 1.0}, {"text": "dog", "weight": -1.0}],
    "contact_sheet": "sheet.png",
    "model": {},
    "results": [
      {
        "rank": 1,
        "score": 1.0,
        "path": "/photos/0.png",
        "name": "cat",
        "key": "0",
        "split": "unseen_concept",
      }
    ],
  }


def test_a_hub_is_no_longer_near_to_all():
  """A picture close to all texts, as the mean of pictures is."""
  rng = np.random.default_rng(0)
  z_NE = np.eye(8) + 0.6
  gallery = _gallery([*z_NE, z_NE.mean(axis=0)], " ".join("abcdefghi"))
  text_E = (
    0.2 * np.eye(8)[2] - 0.3 * np.eye(8)[5] + 1 + 0.01 * rng.normal(size=8)
  )
  text_E /= np.linalg.norm(text_E)
  assert search.search(gallery, text_E, 1)[0].entry.name == "i"
  centred, centre = gallery.centred()
  query_E = text_E - np.ones(8) / 8**0.5
  best = search.search(centred, query_E / np.linalg.norm(query_E), 9)
  assert best[0].entry.name == "c"
  assert centre.num == 9
  assert centred.method(1) == {"method": "exact", "recall": None}
