"""Random inputs on which torchvision's operators were run for their golden."""

import pathlib

import numpy as np

PATH = pathlib.Path(__file__).parent / "golden/torchvision.npz"
NUM_CASES, NUM_BOXES = 200, 30
THRESHOLD, CLASS_THRESHOLD = 0.6, 0.5
NUM_CLASSES = 3


def boxes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return boxes [N, A, 4], scores [N, A], all distinct, and classes [N, A]."""
  rng = np.random.default_rng(0)
  shape = (NUM_CASES, NUM_BOXES)
  low_NA2 = rng.uniform(0, 50, (*shape, 2))
  size_NA2 = rng.uniform(1, 30, (*shape, 2))
  box_NA4 = np.concatenate([low_NA2, low_NA2 + size_NA2], -1)
  score_NA = rng.permuted(np.tile(np.arange(NUM_BOXES), (NUM_CASES, 1)), axis=1)
  label_NA = rng.integers(0, NUM_CLASSES, shape).astype(np.int32)
  return box_NA4.astype(np.float32), score_NA.astype(np.float32), label_NA


def convolution(stride: int) -> tuple[np.ndarray, ...]:
  """Return inputs of a modulated deformable 3 x 3 convolution.

  They are images [2, 9, 7, 4], offsets [2, Y, X, 9, 2] as (row, column), masks
  [2, Y, X, 9] and a kernel [3, 3, 4, 6], all float32.
  """
  rng = np.random.default_rng(stride)
  shape = (2, -(-9 // stride), -(-7 // stride), 9)
  return (
    rng.normal(size=(2, 9, 7, 4)).astype(np.float32),
    rng.normal(0, 2, (*shape, 2)).astype(np.float32),
    rng.uniform(size=shape).astype(np.float32),
    rng.normal(size=(3, 3, 4, 6)).astype(np.float32),
  )
