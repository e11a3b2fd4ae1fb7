"""Queries: flags, weights, and the embedding that they give."""

import numpy as np
import pytest

from inference.searching import queries


class _Model:
  """Model of embeddings on three axes: texts, pictures, all else."""

  embed_dim = 3

  def embed_texts(self, text):
    return np.eye(3, dtype=np.float32)[["red", "shoe", "hat"].index(text)][None]

  def embed_images(self, path):
    return self.embed_texts(path.rpartition("/")[2].partition(".")[0])


def _query(text="", images=(), without=(), weight=1.0):
  return queries.Query.of_flags(text, images, without, weight)


def test_texts_and_pictures_are_mixed(tmp_path):
  for name in ("shoe.png", "hat.png", "hat.png=2"):
    (tmp_path / name).touch()
  shoe, hat, odd = (
    str(tmp_path / name) for name in ("shoe.png", "hat.png", "hat.png=2")
  )
  query = _query("red", [shoe, f"{hat}=-0.5"], weight=2.0)
  expected = np.array([2, 1, -0.5])
  np.testing.assert_allclose(
    query.vector(_Model()), expected / np.linalg.norm(expected), rtol=1e-6
  )
  assert query.title() == "red × 2 + [shoe.png] without [hat.png] × 0.5"
  assert query.facts() == [
    {"text": "red", "weight": 2.0},
    {"picture": shoe, "weight": 1.0},
    {"picture": hat, "weight": -0.5},
  ]
  # A path that exists is that path.
  assert _query(images=[odd]).parts == ((odd, True, 1.0),)
  assert _query(images=[f"{odd}=3"]).parts == ((odd, True, 3.0),)
  without = _query("red", without=["hat", "shoe"])
  expected = np.array([1, -1, -1]) / 3**0.5
  np.testing.assert_allclose(without.vector(_Model()), expected, rtol=1e-6)
  assert without.title() == "red without hat without shoe"


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({}, "--query is empty.*--query_image=FILE"),
    ({"text": "  "}, "--query is empty"),
    ({"text": "red", "weight": 0.0}, "--query_weight must be.*got 0.0"),
    ({"text": "red", "weight": float("nan")}, "--query_weight must be"),
    ({"text": "red", "weight": -1.0}, "negative weights only"),
    ({"images": ["no.png"]}, "--query_image=no.png is no file"),
    ({"images": ["no.png=x"]}, "FILE=WEIGHT.*got 'no.png=x'"),
    ({"images": ["no.png=0"]}, "FILE=WEIGHT.*got 'no.png=0'"),
    ({"text": "red", "without": [""]}, "--without is empty"),
  ],
)
def test_flags_that_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    _query(**fields)


def test_parts_that_cancel():
  with pytest.raises(ValueError, match=r"parts cancel.*red without red"):
    _query("red", without=["red"]).vector(_Model())


def test_parts_are_centred_by_their_modality(tmp_path):
  (tmp_path / "shoe.png").touch()
  shoe = str(tmp_path / "shoe.png")
  query = _query("red", [shoe], ["hat"])
  image_mean_E, text_mean_E = np.eye(3) * 0.5 @ [1, 1, 1], np.array([0.5, 0, 0])
  parts = [
    (1, [0.5, 0, 0]),  # "red" less the mean of texts
    (1, [-0.5, 0.5, -0.5]),
    (-1, [-0.5, 0, 1]),
  ]
  expected = sum(
    weight * np.array(part) / np.linalg.norm(part) for weight, part in parts
  )
  np.testing.assert_allclose(
    query.vector(_Model(), image_mean_E, text_mean_E),
    expected / np.linalg.norm(expected),
    rtol=1e-6,
  )
  assert query.has_texts
  assert not _query(images=[shoe]).has_texts
  with pytest.raises(ValueError, match="parts cancel"):
    _query("red").vector(_Model(), None, np.eye(3)[0])
