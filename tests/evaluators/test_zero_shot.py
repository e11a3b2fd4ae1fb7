import numpy as np
import pytest

from evaluators import zero_shot
from tests.evaluators import meshes


def test_class_embedding_is_a_normalised_mean():
  # Not the mean of sums: the class of two opposite-leaning prompts points
  # between them, whatever order the rows of the other class have.
  ztxt = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
  got = zero_shot.class_embeddings(ztxt, 2)
  half = np.sqrt(np.float32(0.5))
  # One rounding of the norm.
  np.testing.assert_allclose(got, [[half, half], [0, 1]], rtol=2e-7)
  assert got.dtype == np.float32


def test_classes_whose_prompts_cancel_do_not_give_nan():
  ztxt = np.array([[1, 0], [-1, 0]], np.float32)
  np.testing.assert_array_equal(zero_shot.class_embeddings(ztxt, 1), [[0, 0]])


@pytest.mark.parametrize("shape", meshes.SHAPES)
def test_evaluate_equals_argmax(shape):
  rng = np.random.default_rng(0)
  zimg, zclass = (meshes.unit(rng.normal(size=(n, 5))) for n in (33, 7))
  label = rng.integers(0, 6, 33).astype(np.int32)  # class 6 has no example
  got = zero_shot.evaluate(zimg, zclass, label, meshes.make_mesh(shape))
  order = np.argsort(-zimg @ zclass.T, axis=1)
  hit = order[:, 0] == label
  assert got["num_classes"] == 7
  assert got["num_examples"] == 33
  assert got["top_1"] == hit.mean()
  assert got["top_5"] == (order[:, :5] == label[:, None]).any(axis=1).mean()
  by_class = [hit[label == c].mean() for c in range(6)]
  assert got["mean_per_class"] == pytest.approx(np.mean(by_class), rel=1e-12)


def test_ties_are_no_hits_and_few_classes_have_no_top_5():
  z = np.ones((4, 1), np.float32)
  label = np.zeros(4, np.int32)
  got = zero_shot.evaluate(z, np.ones((2, 1), "f4"), label, meshes.make_mesh())
  assert got["top_1"] == 0
  assert "top_5" not in got
