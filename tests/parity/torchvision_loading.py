"""Import of torchvision, also beside a torch that its wheel is not for."""

import importlib
import sys

_KEPT: list[object] = []


def load() -> None:
  """Import torchvision.

  PyPI's wheel was built for CUDA. Beside torch's build for the CPU it cannot
  load its compiled operators, and two of them must at least have names. None
  is used here: images are resized by Pillow.
  """
  import torch

  try:
    importlib.import_module("torchvision")
  except RuntimeError as error:
    if "torchvision::nms does not exist" not in str(error):
      raise
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
      library.define(
        f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
      )
    _KEPT.append(library)  # its names go with it
    for name in list(sys.modules):
      if name.partition(".")[0] == "torchvision":
        del sys.modules[name]
    importlib.import_module("torchvision")
