"""Write the golden of torchvision's suppression and deformable convolution.

From the repository's root, where torchvision's compiled operators load
(torchvision 0.29.1 beside torch 2.14.1, both of PyPI, made the file in the
repository; tests/parity installs torch's build for the CPU, beside which they
do not):
  python -m tests.parity.makers.golden_torchvision
"""

import numpy as np
import torch
from torchvision import ops

from tests.models.detecting import torchvision_cases as cases


def main() -> None:
  """Write the file."""
  kept_NA, kept_in_class_NA = [], []
  for box_A4, score_A, label_A in zip(*cases.boxes(), strict=True):
    box, score, label = map(torch.tensor, (box_A4, score_A, label_A))
    kept_NA.append(_mask(ops.nms(box, score, cases.THRESHOLD)))
    kept_in_class_NA.append(
      _mask(ops.batched_nms(box, score, label, cases.CLASS_THRESHOLD))
    )
  cases.PATH.parent.mkdir(exist_ok=True)
  np.savez_compressed(
    cases.PATH,
    allow_pickle=False,
    kept=np.stack(kept_NA),
    kept_in_class=np.stack(kept_in_class_NA),
    **{f"convolved_{stride}": _convolved(stride) for stride in (1, 2)},
  )


def _mask(kept: torch.Tensor) -> np.ndarray:
  return np.isin(np.arange(cases.NUM_BOXES), kept.numpy())


def _convolved(stride: int) -> np.ndarray:
  """Return the output [2, Y, X, 6] of a modulated deformable convolution."""
  x, offset, mask, kernel = cases.convolution(stride)
  y = ops.deform_conv2d(
    _channels_first(x),
    _channels_first(offset.reshape(*offset.shape[:3], 18)),
    torch.tensor(kernel.transpose(3, 2, 0, 1)),
    stride=stride,
    padding=1,
    mask=_channels_first(mask),
  )
  return np.moveaxis(y.numpy(), 1, -1)


def _channels_first(array: np.ndarray) -> torch.Tensor:
  return torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


if __name__ == "__main__":
  main()
