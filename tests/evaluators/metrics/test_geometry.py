import tracemalloc

import numpy as np
import pytest
from scipy.spatial import distance

from evaluators.metrics import geometry
from tests.evaluators import meshes


def unit(seed, n, e=6):
  return meshes.unit(np.random.default_rng(seed).normal(size=(n, e)))


@pytest.mark.parametrize("n", [2, 7, 8, 9, 50])
def test_uniformity_equals_all_pairs(n, monkeypatch):
  monkeypatch.setattr(geometry, "_NUM_ROWS", 8)
  z = unit(0, n)
  # torch.pdist(z).pow(2).mul(-2).exp().mean().log() in the authors' code.
  want = np.log(np.exp(-2 * distance.pdist(z.astype(float)) ** 2).mean())
  assert geometry.uniformity(z) == pytest.approx(want, abs=1e-6)
  want = np.log(np.exp(-5 * distance.pdist(z.astype(float)) ** 2).mean())
  assert geometry.uniformity(z, t=5) == pytest.approx(want, abs=1e-6)


def test_uniformity_of_extremes():
  assert geometry.uniformity(np.tile(unit(0, 1), (9, 1))) == 0
  pair = np.array([[1, 0], [-1, 0]], np.float32)
  assert geometry.uniformity(pair) == pytest.approx(-8)
  with pytest.raises(ValueError, match="at least 2 rows; got 1"):
    geometry.uniformity(pair[:1])


def test_memory_does_not_grow_with_pairs():
  z = unit(0, 10_000, 4)
  tracemalloc.start()
  geometry.uniformity(z)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  # All pairs are 400 MB.
  assert peak < 60e6


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_alignment_equals_the_mean_distance(power, monkeypatch):
  monkeypatch.setattr(geometry, "_NUM_ROWS", 4)
  zimg, ztxt = unit(0, 5), unit(1, 11)
  owners = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 4])
  want = np.mean(
    [
      distance.euclidean(zimg[o], t) ** power
      for o, t in zip(owners, ztxt, strict=True)
    ]
  )
  got = geometry.alignment(zimg, ztxt, owners, power=power)
  assert got == pytest.approx(want, rel=1e-6)


def test_figures():
  zimg, ztxt = unit(0, 30), unit(1, 40)
  owners = np.arange(40) % 30
  got = geometry.figures(zimg, ztxt, owners)
  want = distance.euclidean(zimg.mean(axis=0), ztxt.mean(axis=0))
  assert got["modality_gap"] == pytest.approx(want, rel=1e-5)
  assert got["uniformity_images"] == geometry.uniformity(zimg)
  assert got["uniformity_texts"] == geometry.uniformity(ztxt)
  # One set moved apart from the other: a gap, and as uniform as before.
  far = np.concatenate([np.full((40, 1), 3), ztxt], axis=1) / np.sqrt(10)
  near = np.concatenate([np.zeros((30, 1)), zimg], axis=1)
  assert geometry.modality_gap(near, far) > got["modality_gap"] + 0.5
