"""Write the golden files of CLIP's ResNet and of open_clip's ConvNeXt.

From the repository's root, where open_clip is installed (open_clip_torch 3.3.0
with timm 1.0.31 made those in the repository; JAX is not needed):
  python tests/parity/makers/golden_open_clip_conv.py
A model of open_clip's model_configs in its full size, with random weights, for
tests/parity/makers/compare_image_tower.py:
  python tests/parity/makers/golden_open_clip_conv.py RN50 /tmp/rn50.npz
"""

import json
import pathlib
import sys

import numpy as np
import open_clip
import torch
from open_clip import modified_resnet, timm_model

FOLDER = pathlib.Path(__file__).parents[2] / "models/pretrained/golden"


def main() -> None:
  """Write all small files, or the large one that is named."""
  if len(sys.argv) == 3:
    config = open_clip.get_model_config(sys.argv[1])
    tower = open_clip.model._build_vision_tower(
      config["embed_dim"], config["vision_cfg"]
    )
    _write(sys.argv[2], tower, config["vision_cfg"], rounds=False)
    return
  # 4 x 32 channels are pooled by two heads of 64.
  _write(
    FOLDER / "clip_resnet.npz",
    modified_resnet.ModifiedResNet((1, 3, 1, 1), 8, 2, image_size=64, width=4),
    {"image_size": 64},
  )
  for name, head in (
    ("timm_convnext", {"proj": "linear"}),
    ("timm_convnext_mlp", {"proj": "mlp", "proj_bias": True}),
  ):
    _write(FOLDER / f"{name}.npz", _convnext(head), {"image_size": 70})


def _convnext(head) -> torch.nn.Module:
  """Return a small tower, made as open_clip makes the published ones."""
  create = timm_model.timm.create_model
  sizes = {"depths": (1, 2, 1, 2), "dims": (8, 12, 16, 20)}
  timm_model.timm.create_model = lambda name, **fields: create(
    name, **fields, **sizes
  )
  try:
    # 70 pixels: the last are in no patch, and in no window further on.
    return timm_model.TimmModel(
      "convnext_base", embed_dim=6, image_size=70, pool="", drop_path=0.1,
      **head,
    )  # fmt: skip
  finally:
    timm_model.timm.create_model = create


def _write(path, tower, config, rounds: bool = True) -> None:
  size = config["image_size"]
  rng = np.random.default_rng(1)
  images = rng.integers(0, 256, (2, size, size, 3), np.uint8)
  x = ((torch.from_numpy(images) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
  _randomise(tower, x, rounds)
  with torch.no_grad():
    z = torch.nn.functional.normalize(tower.eval()(x).double(), dim=-1)
  # Without this, an error in the tower might hide: all rows would be alike.
  assert z[0] @ z[1] < 0.999, z @ z.T
  np.savez_compressed(
    path,
    config=np.asarray(json.dumps(config)),
    images=images,
    zimg=z.float().numpy(),
    **{
      f"tensor:visual.{name}": value.numpy()
      for name, value in tower.state_dict().items()
    },
  )


def _randomise(tower, x, rounds: bool) -> None:
  """Draw all tensors; running statistics near those of the images."""
  generator = torch.Generator().manual_seed(0)

  def noise(like):
    drawn = torch.randn(like.shape, generator=generator)
    return (4 * drawn).round() / 4 if rounds else drawn

  with torch.no_grad():
    for name, p in tower.named_parameters():
      if p.ndim > 1 and "positional" not in name:
        scale = 2.0 ** np.round(np.log2(p[0].numel() ** -0.5))
        p.copy_(scale * noise(p))
      elif name.endswith(".bias"):
        p.copy_(0.25 * noise(p))
      else:
        p.copy_((p.ndim == 1) + 0.25 * noise(p))
    norms = [m for m in tower.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
      norm.momentum = 1.0
    tower.train()(x)
    for norm in norms:
      norm.running_mean.add_(norm.running_var.sqrt() * 0.25 * noise(norm.bias))
      norm.running_var.mul_((1 + 0.25 * noise(norm.bias)).clamp(0.5, 2))
      norm.num_batches_tracked.fill_(3)
      if rounds:  # so that the file is small
        norm.running_mean.mul_(64).round_().div_(64)
        norm.running_var.mul_(64).round_().clamp_(min=1).div_(64)


if __name__ == "__main__":
  main()
