"""Heat maps beside regions: overlap, average precision, the pointing game."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from evaluators import saliency
from evaluators.metrics import localisation


def _region(*, height=32, width=48):
  region = np.zeros((height, width), bool)
  region[8:20, 30:44] = True
  return region


def _noise(seed, shape=(32, 48)):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_iou_is_scikit_learns():
  mask, region = _noise(0) > 0.3, _region()
  want = sklearn_metrics.jaccard_score(region.ravel(), mask.ravel())
  assert localisation.iou(mask, region) == pytest.approx(want)
  assert localisation.iou(region, region) == 1
  assert localisation.iou(~region, region) == 0


def test_pixel_ap_is_scikit_learns():
  region = _region()
  heat = (_noise(1) + region).round(1)  # with ties
  want = sklearn_metrics.average_precision_score(region.ravel(), heat.ravel())
  assert localisation.pixel_ap(heat, region) == pytest.approx(want)


def test_a_mask_is_scaled_to_the_map():
  heat = np.array([[-2.0, 0.0, 2.0]])
  assert localisation.mask_of(heat).tolist() == [[False, True, True]]
  assert localisation.mask_of(heat, 0.6).tolist() == [[False, False, True]]
  assert not localisation.mask_of(np.ones((2, 2))).any()


def test_pointing_counts_ties_by_their_share():
  region = np.array([[True, False, False, False]])
  assert localisation.pointing(np.array([[3.0, 1, 2, 0]]), region) == 1
  assert localisation.pointing(np.array([[1.0, 3, 2, 0]]), region) == 0
  # A map without contrast points at chance.
  assert localisation.pointing(np.ones((1, 4)), region) == 0.25


def test_a_map_like_its_region_beats_chance():
  region = _region()
  bands = saliency.band_parts(32, 48, 8)
  assert len(bands) == saliency.num_bands(32, 48, 8)
  expected = localisation.chance(region, bands)
  judged = localisation.judge(region.astype(float), region)
  assert judged == dict.fromkeys(localisation.FIGURES, 1.0)
  overlaps = []
  for band in bands:
    mask = np.zeros((32, 48), bool)
    mask[band] = True
    overlaps.append((mask & region).sum() / (mask | region).sum())
  assert expected["iou"] == pytest.approx(np.mean(overlaps))
  assert expected["pointing"] == expected["pixel_ap"] == region.mean()
  # Maps of noise are at chance.
  noise = [localisation.judge(_noise(i), region) for i in range(40)]
  for name in ("pixel_ap", "pointing"):
    mean = np.mean([one[name] for one in noise])
    assert mean == pytest.approx(expected[name], abs=0.15)


def test_a_summary_resamples_images():
  judged = [
    localisation.judge(_noise(i) + (i % 3) * _region(), _region())
    for i in range(12)
  ]
  expected = [localisation.chance(_region(), [(slice(None),) * 2])] * 12
  got = localisation.summary(judged, expected, [i // 2 for i in range(12)])
  assert (got["num_maps"], got["num_images"]) == (12, 6)
  for name in localisation.FIGURES:
    low, high = got["intervals"][name]
    assert low <= got[name] <= high
    assert got[name] == pytest.approx(np.mean([one[name] for one in judged]))
    assert got["chance"][name] == pytest.approx(_region().mean())


def test_occlusion_finds_a_part_better_than_a_random_band():
  """A red box on grey, and an embedding that is the share of red."""
  region = _region()
  image = np.full((32, 48, 3), saliency.GREY, np.uint8)
  image[region] = (255, 0, 0)

  def embed_fn(crops):
    red = (crops[..., 0] == 255).mean(axis=(1, 2))
    z = np.stack([red, 0.02 * np.ones_like(red)], axis=1)
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)

  text = np.array([[1.0, 0.0]], np.float32)
  heat = saliency.windows(embed_fn, image, text, window=4, stride=2).map_TYX[0]
  expected = localisation.chance(region, saliency.band_parts(32, 48, 4))
  got = localisation.judge(heat, region)
  for name in localisation.FIGURES:
    assert got[name] > 2 * expected[name]
  assert got["pointing"] == 1


@pytest.mark.parametrize(
  ("heat", "region", "message"),
  [
    (np.ones((2, 3)), np.ones((3, 2), bool), r"shape of its map, \(2, 3\)"),
    (np.ones((2, 2)), np.zeros((2, 2), bool), "at least one pixel; got none"),
    (np.full((2, 2), np.nan), np.ones((2, 2), bool), "must be finite"),
  ],
)
def test_what_cannot_be_judged_is_refused(heat, region, message):
  with pytest.raises(ValueError, match=message):
    localisation.judge(heat, region)
