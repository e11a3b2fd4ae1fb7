"""Zero-shot classes of boxes: a dual encoder names the crops of a picture.

Florence's open-set detection (arXiv 2111.11432, section 2.4): a class-agnostic
detector proposes boxes, each is cut out, and the class of the most similar
class embedding names it (evaluators/zero_shot.py).

Shape letters beside those of models/layers.py: P boxes of all pictures, A
classes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import detection, intervals

KIND = "proposals"
# IoU at which a proposal is an annotated box.
MATCH = 0.5


def crops(pixels: np.ndarray, box_P4: np.ndarray) -> list[np.ndarray]:
  """Return the part of a picture in each box, in whole pixels, uint8.

  A part is widened to the pixels that its box touches, one at least.

  Args:
    pixels: uint8 [Y, X, 3].
    box_P4: boxes (left, top, right, bottom) that touch the picture.

  >>> pixels = np.zeros((9, 9, 3), np.uint8)
  >>> crops(pixels, np.array([[1.5, 2, 4.2, 9]]))[0].shape
  (7, 4, 3)
  """
  height, width, _ = pixels.shape
  parts = []
  for left, top, right, bottom in box_P4:
    x = min(max(int(np.floor(left)), 0), width - 1)
    y = min(max(int(np.floor(top)), 0), height - 1)
    x_end = min(max(int(np.ceil(right)), x + 1), width)
    y_end = min(max(int(np.ceil(bottom)), y + 1), height)
    parts.append(pixels[y:y_end, x:x_end])
  return parts


def classify(
  parts: Sequence[np.ndarray],
  embed: Callable[[np.ndarray], np.ndarray],
  prepare: Callable[[np.ndarray], np.ndarray],
  zclass_AE: np.ndarray,
  *,
  batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Return the class of each crop, and its similarity: int32, float32 [P].

  Args:
    parts: uint8 crops of any size.
    embed: uint8 images [batch_size, Y, X, 3] -> embeddings of length 1.
    prepare: crop -> image of the tower's size, as Protocol.apply.
    zclass_AE: class embeddings, of zero_shot.class_embeddings.
    batch_size: images that are embedded at a time; the last ones are filled up.
  """
  similarity_PA = [np.zeros((0, len(zclass_AE)), np.float32)]
  for start in range(0, len(parts), batch_size):
    images = [prepare(part) for part in parts[start : start + batch_size]]
    num = len(images)
    images += [images[-1]] * (batch_size - num)
    zimg_BE = np.asarray(embed(np.stack(images)))[:num]
    similarity_PA.append(zimg_BE @ zclass_AE.T)
  joined_PA = np.concatenate(similarity_PA)
  best_P = joined_PA.argmax(axis=1).astype(np.int32)
  return best_P, joined_PA[np.arange(len(best_P)), best_P]


def matched(truth: detection.Boxes, found: detection.Boxes) -> np.ndarray:
  """Return the annotated box of each found one, -1 for none: int [M].

  Best scores choose first; an annotated box is chosen once, by the found box
  that overlaps it most, at MATCH at least. Boxes around many objects are not
  chosen.
  """
  assert found.score_M is not None
  chosen_M = np.full(len(found.box_M4), -1)
  free = np.ones(len(truth.box_M4), bool)
  if truth.is_crowd_M is not None:
    free &= ~truth.is_crowd_M
  for m in np.argsort(-found.score_M, kind="stable"):
    overlap = np.where(free, _iou(found.box_M4[m], truth.box_M4), -1)
    if len(overlap) and overlap.max() >= MATCH:
      chosen_M[m] = overlap.argmax()
      free[chosen_M[m]] = False
  return chosen_M


def record(
  right_P: np.ndarray, picture_P: np.ndarray, num_classes: int
) -> dict[str, Any]:
  """Return the share of found boxes that are named right.

  Args:
    right_P: bool, whether each found box, of those of `matched`, has its class.
    picture_P: integers that name the picture of each; an interval resamples
      pictures with all their boxes.
    num_classes: A.

  Raises:
    ValueError: no box was found.

  >>> record(np.array([True, False]), np.array([0, 1]), 4)["top_1"]
  0.5
  """
  if not len(right_P):
    raise ValueError("named boxes must be some; got none that was found")
  bound_2 = intervals.clustered(right_P, picture_P)
  return {
    "kind": KIND,
    "num_boxes": len(right_P),
    "num_classes": num_classes,
    "top_1": float(right_P.mean()),
    "chance": {"top_1": 1 / num_classes},
    "intervals": {"top_1": bound_2.tolist()},
  }


def _iou(box_4: np.ndarray, box_M4: np.ndarray) -> np.ndarray:
  low_M2 = np.maximum(box_4[:2], box_M4[:, :2])
  high_M2 = np.minimum(box_4[2:], box_M4[:, 2:])
  inside_M = np.prod(np.maximum(high_M2 - low_M2, 0), axis=1)
  union_M = (
    np.prod(box_4[2:] - box_4[:2])
    + np.prod(box_M4[:, 2:] - box_M4[:, :2], axis=1)
    - inside_M
  )
  return inside_M / np.maximum(union_M, np.finfo(np.float64).tiny)
