"""Grid features equal the trunk of torchvision's ResNets, random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torchvision
from flax import nnx

from models.fusion import grid
from models.pretrained import mapping
from models.pretrained.fused import clipbert_links

# torchvision's mean and standard deviation of pixels of 0 to 255.
_FIELDS = {
  "strides_in": "conv2",
  "channels": "rgb",
  "pixel_mean": (123.675, 116.28, 103.53),
  "pixel_std": (58.395, 57.12, 57.375),
}


def test_resnet_50():
  torch.manual_seed(0)
  theirs = torchvision.models.resnet50(weights=None).eval()
  with torch.no_grad():
    for name, x in theirs.state_dict().items():
      if name.endswith("running_var") or "bn" in name and "weight" in name:
        x.uniform_(0.5, 1.5)
      elif name.endswith(("bias", "running_mean")):
        x.normal_(0, 0.2)
  tensors = {k: v.numpy() for k, v in theirs.state_dict().items()}
  config = grid.GridConfig(**_FIELDS)
  graph, params = nnx.split(
    jax.eval_shape(
      lambda: grid.GridResNet(config, dtype="float32", rngs=nnx.Rngs(params=0))
    )
  )
  loaded = mapping.load(
    clipbert_links.torchvision_resnet(config),
    tensors,
    {"cnn": nnx.to_pure_dict(params)},
    ignored=(*clipbert_links.IGNORED, r"fc\..*"),
  )
  tree: dict = {}
  for path, x in loaded.items():
    *parents, name = path.split("/")
    inside = tree
    for parent in parents:
      inside = inside.setdefault(parent, {})
    inside[name] = jnp.asarray(x)
  images = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), np.uint8)
  got = jax.jit(lambda params, x: nnx.merge(graph, params)(x))(
    tree["cnn"], images
  )
  trunk = torch.nn.Sequential(*[*theirs.children()][:-2])
  mean, std = (np.array(_FIELDS[f"pixel_{x}"]) for x in ("mean", "std"))
  pixels = ((images - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
  with torch.no_grad():
    expected = trunk(torch.from_numpy(pixels)).numpy().transpose(0, 2, 3, 1)
  assert got.shape == expected.shape == (2, 3, 2, 2048)
  # 53 convolutions of float32, each summed in another order: relative to the
  # largest feature.
  scale = np.abs(expected).max()
  np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=2e-5)
