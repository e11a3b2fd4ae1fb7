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


@pytest.mark.parametrize("n", [2, 8, 21])
def test_kernels_of_rows(n, monkeypatch):
  monkeypatch.setattr(geometry, "_NUM_ROWS", 8)
  z = unit(0, n)
  kernel = np.exp(-2 * distance.squareform(distance.pdist(z)) ** 2)
  want = (kernel.sum(axis=1) - 1) / (n - 1)
  value, got = geometry.uniformity_and_kernels(z)
  np.testing.assert_allclose(got, want, rtol=1e-5)
  assert value == pytest.approx(np.log(want.mean()), abs=1e-6)


_TOPICS = np.random.default_rng(5).normal(size=(8, 16)) / 4


def _captions(rng, n, largest):
  """Draw n images of up to `largest` captions: a cone of topics."""
  size = rng.integers(1, largest + 1, n)
  image = np.eye(16)[0] + _TOPICS[rng.integers(8, size=n)]
  image = image + rng.normal(size=(n, 16)) / 4
  owner = np.repeat(np.arange(n), size)
  z = image[owner] + (largest > 1) * rng.normal(size=(len(owner), 16)) / 4
  return meshes.unit(z.astype(np.float32)), owner


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1, 5])
def test_the_interval_of_uniformity_covers(largest):
  """The interval holds the mean of all figures in 93 to 97 % of 500 sets."""
  figures, bounds = [], []
  for seed in range(500):
    z, owner = _captions(np.random.default_rng(seed), 100, largest)
    value, kernel = geometry.uniformity_and_kernels(z)
    figures.append(value)
    bounds.append(
      geometry.uniformity_interval(kernel, owner, num_resamples=400)
    )
  low, high = np.transpose(bounds)
  truth = np.mean(figures)
  share = np.mean((low <= truth) & (truth <= high))
  print(f"captions up to {largest}: {share:.3f}")
  assert 0.93 <= share <= 0.97


def test_the_interval_of_uniform_rows_is_too_wide():
  figures, bounds = [], []
  for seed in range(200):
    value, kernel = geometry.uniformity_and_kernels(unit(seed, 150, 16))
    figures.append(value)
    bounds.append(geometry.uniformity_interval(kernel, num_resamples=400))
  low, high = np.transpose(bounds)
  truth = np.mean(figures)
  assert np.mean((low <= truth) & (truth <= high)) >= 0.97
  assert np.mean(high - low) < 6 * np.std(figures)


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
