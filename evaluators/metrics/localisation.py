"""Localisation: heat maps of an image beside the region that a text is about.

  iou       overlap of the thresholded map with the region, over their union
  pixel_ap  average precision of the map's values as scores of the pixels
  pointing  whether the highest value is in the region (the pointing game)

No map is meant to have a unit: it is scaled to 0 to 1 before the threshold, and
the other two depend on its order alone. Ties of the highest value count by
their share in the region, so that a map without contrast points at chance.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.metrics import intervals, multilabel

# Threshold of a map between 0 and 1. FashionCLIP's code scales its map so; its
# own threshold was not read.
THRESHOLD = 0.5
IOU, PIXEL_AP, POINTING = FIGURES = ("iou", "pixel_ap", "pointing")

# Rows and columns of a band.
Band = tuple[slice, slice]


def mask_of(map_YX: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
  """Return the pixels of a map that are hot: bool [H, W].

  They have at least `threshold` of the way from the lowest to the highest
  value. A map without contrast has none.
  """
  low, high = float(map_YX.min()), float(map_YX.max())
  if not high > low:
    return np.zeros(map_YX.shape, bool)
  return (map_YX - low) / (high - low) >= threshold


def iou(mask_YX: np.ndarray, region_YX: np.ndarray) -> float:
  """Return the intersection over the union of two bool masks.

  >>> iou(np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool))
  0.3333333333333333
  """
  union = int((mask_YX | region_YX).sum())
  return int((mask_YX & region_YX).sum()) / union if union else 0.0


def pixel_ap(map_YX: np.ndarray, region_YX: np.ndarray) -> float:
  """Return the average precision of the region's pixels by the map's values."""
  (ap,) = multilabel.average_precisions(
    map_YX.reshape(-1, 1), region_YX.reshape(-1, 1)
  )
  return float(ap)


def pointing(map_YX: np.ndarray, region_YX: np.ndarray) -> float:
  """Return the share of the map's highest pixels that are in the region."""
  return float(region_YX[map_YX == map_YX.max()].mean())


def band_iou(region_YX: np.ndarray, bands: Sequence[Band]) -> float:
  """Return the expected IoU of a band drawn evenly, the baseline of maps."""
  overlaps = []
  for band in bands:
    mask_YX = np.zeros(region_YX.shape, bool)
    mask_YX[band] = True
    overlaps.append(iou(mask_YX, region_YX))
  return float(np.mean(overlaps))


def judge(
  map_YX: np.ndarray, region_YX: np.ndarray, threshold: float = THRESHOLD
) -> dict[str, float]:
  """Return FIGURES of one map.

  Raises:
    ValueError: map and region are of different shapes, the map is not finite,
      or no pixel is in the region.
  """
  if map_YX.shape != region_YX.shape:
    raise ValueError(
      f"a region must have the shape of its map, {map_YX.shape}; got "
      f"{region_YX.shape}"
    )
  if not np.isfinite(map_YX).all():
    raise ValueError("a map must be finite; got NaN or infinity")
  if not region_YX.any():
    raise ValueError("a region must have at least one pixel; got none")
  region_YX = np.asarray(region_YX, bool)
  return {
    IOU: iou(mask_of(map_YX, threshold), region_YX),
    PIXEL_AP: pixel_ap(map_YX, region_YX),
    POINTING: pointing(map_YX, region_YX),
  }


def chance(region_YX: np.ndarray, bands: Sequence[Band]) -> dict[str, float]:
  """Return the expected FIGURES of maps that do not look at the image.

  IoU is that of a random band; the other two are the region's share of the
  image: of a pixel drawn evenly, and, in the limit of many pixels, of pixels in
  random order.
  """
  share = float(region_YX.mean())
  return {IOU: band_iou(region_YX, bands), PIXEL_AP: share, POINTING: share}


def summary(
  judged: Sequence[dict[str, float]],
  expected: Sequence[dict[str, float]],
  image_N: Sequence[int],
) -> dict[str, object]:
  """Return means over maps, with intervals and chance.

  Args:
    judged: FIGURES of each map, of `judge`.
    expected: the same of chance.
    image_N: integers that name the image of each map; an interval resamples
      images with all their maps.
  """
  value_NF = np.array([[one[name] for name in FIGURES] for one in judged])
  bound_F2 = intervals.clustered(value_NF, np.asarray(image_N))
  return {
    "num_maps": len(judged),
    "num_images": len(set(image_N)),
    **{
      name: float(value)
      for name, value in zip(FIGURES, value_NF.mean(axis=0), strict=True)
    },
    "intervals": {
      name: bound.tolist()
      for name, bound in zip(FIGURES, bound_F2, strict=True)
    },
    "chance": {
      name: float(np.mean([one[name] for one in expected])) for name in FIGURES
    },
  }
