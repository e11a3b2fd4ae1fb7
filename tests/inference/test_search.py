import json

import numpy as np
import pytest

from evaluators import embedding
from inference import search
from tests.evaluators import fake_split, meshes

WORDS = ("cat", "dog", "owl", "firefighter")


def tokenizer(texts):
  return np.array([[WORDS.index(text)] for text in texts], np.int32)


def run(query, num_results=3):
  # Each picture is at its word; "dog" is closer to "cat" than the others.
  table = np.eye(4, dtype=np.float32)
  table[1, 0] = 0.5
  ids = np.array([2, 0, 3, 1])
  examples = {
    "train": fake_split.Split(
      keys=("1", "2"),
      names={"de": ("Eule", "Katze"), "en": ("owl", "cat")},
      images=meshes.images_of(ids[:2]),
    ),
    "unseen_concept": fake_split.Split(
      keys=("3", "4"),
      names={"de": ("Feuerwehr", "Hund"), "en": ("firefighter", "dog")},
      images=meshes.images_of(ids[2:]),
    ),
  }
  embedder = embedding.make_embedder(
    meshes.embed_images, meshes.embed_texts, meshes.make_mesh(), 8
  )
  return search.search(
    embedder,
    meshes.unit(table),
    tokenizer,
    examples,
    query,
    num_results,
    language="en",
  )


def test_best_first_over_all_splits():
  matches = run("cat")
  assert [m.name for m in matches] == ["cat", "dog", "owl"]
  assert [m.rank for m in matches] == [1, 2, 3]
  assert [m.key for m in matches] == ["2", "4", "1"]
  assert [m.split for m in matches] == ["train", "unseen_concept", "train"]
  assert matches[0].score == 1
  assert matches[1].score == pytest.approx(0.2**0.5, rel=1e-6)
  np.testing.assert_array_equal(
    matches[1].image_YXC, meshes.images_of(np.array([1]))[0]
  )


def test_more_results_than_pictures():
  assert len(run("owl", 100)) == 4


@pytest.mark.parametrize("query", ["", "  "])
def test_empty_query_names_the_flag(query):
  with pytest.raises(ValueError, match="--query is empty"):
    run(query)


def test_no_results_asked_for():
  with pytest.raises(ValueError, match="num_results must be at least 1; got 0"):
    run("cat", 0)


def test_table():
  lines = search.table(run("cat")).splitlines()
  assert [line.split() for line in lines] == [
    ["rank", "score", "name", "key", "split"],
    ["1", "1.000", "cat", "2", "train"],
    ["2", "0.447", "dog", "4", "unseen", "concept"],
    ["3", "0.000", "owl", "1", "train"],
  ]
  splits = zip(lines, ("split", "train", "unseen", "train"), strict=True)
  assert len({line.index(split) for line, split in splits}) == 1


def test_json():
  got = json.loads(search.to_json("cat", run("cat"), "sheet.png"))
  assert got["query"] == "cat"
  assert got["contact_sheet"] == "sheet.png"
  assert got["matches"][0] == {
    "rank": 1,
    "score": 1.0,
    "name": "cat",
    "key": "2",
    "split": "train",
  }
