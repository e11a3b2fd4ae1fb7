"""Nothing here is collected without torch: see requirements-parity.txt."""

import importlib.util
import sys

import jax


def _import_torchvision() -> None:
  """Import torchvision, also beside a torch that its wheel was not built for.

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


_KEPT: list[object] = []
collect_ignore_glob = []
if importlib.util.find_spec("torch") is None:
  collect_ignore_glob.append("test_*.py")
else:
  # These programs are large, and are for others to be compared with.
  jax.config.update("jax_disable_most_optimizations", False)
# open_clip's models need torchvision.
if importlib.util.find_spec("torchvision") is None:
  collect_ignore_glob.append("test_open_clip*.py")
elif importlib.util.find_spec("torch") is not None:
  _import_torchvision()
