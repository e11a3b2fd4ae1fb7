"""Write the golden files of EfficientNet and of ALIGN.

From the repository's root, where transformers is installed (5.23.0 made those
in the repository):
  python -m tests.parity.makers.golden_efficientnet
"""

import pathlib
import tempfile

import numpy as np
import torch
import transformers

from tests.models.pretrained import goldens
from tests.parity.makers import published_hf

# Three stages: one that does not expand, one of three blocks, one padded as
# odd sizes are. Images are 42, 21, 10 and 5 pixels high and wide on the way.
VISION = {
  "width_coefficient": 0.3,
  "depth_coefficient": 1.4,
  "kernel_sizes": [3, 5, 3],
  "in_channels": [32, 16, 24],
  "out_channels": [16, 24, 40],
  "strides": [1, 2, 2],
  "num_block_repeats": [1, 2, 1],
  "expand_ratios": [1, 3, 2],
  "depthwise_padding": [5],
  "image_size": 42,
}
TEXT = {
  "vocab_size": 40,
  "hidden_size": 16,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 24,
  "max_position_embeddings": 8,
}
# Scaled and rounded to a multiple of 8, as 40 * 0.3 and 1280 * 0.3.
WIDTH, HEAD_WIDTH = 16, 384
LENGTHS = (3, 8)


def main() -> None:
  """Write all files."""
  config = transformers.EfficientNetConfig(**VISION, hidden_dim=HEAD_WIDTH)
  _write_images("hf_efficientnet", transformers.EfficientNetModel(config))
  config.num_labels = 5
  _write_images(
    "hf_efficientnet_labels",
    transformers.EfficientNetForImageClassification(config),
  )
  _align()


def embed(model, images: np.ndarray) -> torch.Tensor:
  """Return what a model without text makes of images."""
  x = pixels(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
  with torch.no_grad():
    output = model.eval()(pixel_values=x)
  return output.logits if "logits" in output else output.pooler_output


def pixels(images: np.ndarray, mean, std) -> torch.Tensor:
  """Return normalised images, channels first."""
  x = torch.from_numpy(images.astype(np.float32)) / 255
  return ((x - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)


def randomise(model, x: torch.Tensor) -> torch.nn.Module:
  """Return a model of which no tensor is 0 or 1 throughout.

  Its running statistics are near those of the images that are given.
  """
  published_hf.randomise(model)
  generator = torch.Generator().manual_seed(1)
  norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
  with torch.no_grad():
    for norm in norms:
      norm.momentum = 1.0
      noise = torch.randn(norm.weight.shape, generator=generator)
      norm.weight.copy_(1 + 0.2 * noise)
    # Residual branches add a little each, as in a trained model. Else the 55
    # random blocks of a B7 make float32's rounding grow to 0.07.
    for module in model.modules():
      if getattr(module, "apply_dropout", False):
        module.project_bn.weight.mul_(0.1)
    vision = getattr(model, "vision_model", model)
    # Without stochastic depth, which would leave out whole blocks.
    for module in vision.train().modules():
      if isinstance(module, torch.nn.Dropout):
        module.eval()
    vision(pixel_values=x)
    for norm in norms:
      noise = torch.randn((2, *norm.bias.shape), generator=generator)
      norm.running_mean.add_(0.2 * noise[0] * norm.running_var.sqrt())
      norm.running_var.mul_((1 + 0.2 * noise[1]).clamp(0.5, 2))
  return model.eval()


def align_embed(model, images, tokens):
  """Return an AlignModel's output."""
  half = (0.5, 0.5, 0.5)
  with torch.no_grad():
    return model.eval()(
      pixel_values=pixels(images, half, half),
      input_ids=torch.from_numpy(tokens).long(),
      attention_mask=torch.from_numpy((tokens != 0).astype(np.int64)),
    )


def _write_images(name: str, model) -> None:
  images = published_hf.make_images(2, VISION["image_size"])
  randomise(model, pixels(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
  _write(name, model, images=images, zimg=published_hf.l2(embed(model, images)))


def _align() -> None:
  config = transformers.AlignConfig(
    vision_config={**VISION, "hidden_dim": HEAD_WIDTH},
    text_config=TEXT,
    projection_dim=WIDTH,
  )
  model = transformers.AlignModel(config)
  images = published_hf.make_images(2, VISION["image_size"])
  tokens = published_hf.make_tokens(40, 8, LENGTHS)
  randomise(model, pixels(images, (0.5,) * 3, (0.5,) * 3))
  with torch.no_grad():
    # The form of a log_scale of 2.5; see families/hf_align.py.
    model.temperature.fill_(float(np.float32(np.exp(-2.5))))
  output = align_embed(model, images, tokens)
  _write(
    "hf_align",
    model,
    images=images,
    tokens=tokens,
    zimg=output.image_embeds.numpy(),
    ztxt=output.text_embeds.numpy(),
    scale=np.float32(np.exp(2.5)),
    bias=np.float32(0),
  )


def _write(name: str, model, **arrays) -> None:
  with tempfile.TemporaryDirectory() as folder:
    found = published_hf.found(model, pathlib.Path(folder))
  goldens.write(
    goldens.FOLDER / f"{name}.npz", found.config, found.tensors, **arrays
  )


if __name__ == "__main__":
  main()
