"""Random models of transformers, with inputs and what it makes of them."""

import numpy as np
import torch

from input_pipeline.images import naflex
from models.pretrained import opening


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
  """Return the model for inference, no tensor of it 0 or 1 throughout.

  Matrices keep the size of what they multiply; all else is near its usual
  value, so that a full-size model's embeddings depend on its inputs.
  """
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, x in model.named_parameters():
      noise = torch.randn(x.shape, generator=generator)
      if name in ("logit_scale", "logit_bias", "temperature"):
        x.copy_(2 + 0.1 * noise)
      elif x.ndim == 1 and name.lower().endswith("norm.weight"):
        x.copy_(1 + 0.2 * noise)
      elif x.ndim == 1:
        x.copy_(x.mean() + 0.2 * noise)
      elif "embed" in name and "patch" not in name:
        x.copy_(0.5 * noise)
      else:
        x.copy_(noise / np.sqrt(x[0].numel()))
  return model.eval()


def found(model: torch.nn.Module, folder) -> opening.PublishedFiles:
  """Return the model as saved on disk, under the names of published files."""
  from safetensors import numpy as safetensors_numpy

  model.save_pretrained(folder)
  tensors = safetensors_numpy.load_file(folder / "model.safetensors")
  return opening.PublishedFiles(folder, model.config.to_dict(), tensors)


def make_images(count: int, size: int) -> np.ndarray:
  """Return uint8 noise, [count, size, size, 3]."""
  rng = np.random.default_rng(1)
  return rng.integers(0, 256, (count, size, size, 3), np.uint8)


def make_tokens(vocab_size: int, num_tokens: int, lengths) -> np.ndarray:
  """Return captions of these lengths, padded with 0."""
  rng = np.random.default_rng(2)
  ids = rng.integers(1, vocab_size, (len(lengths), num_tokens))
  real = np.arange(num_tokens) < np.asarray(lengths)[:, None]
  return np.where(real, ids, 0).astype(np.int32)


def make_patches(shapes, patch_size: int, max_num_patches: int):
  """Return uint8 patches and shapes of noise with these rows and columns."""
  rng = np.random.default_rng(3)
  images = [
    rng.integers(0, 256, (y * patch_size, x * patch_size, 3), np.uint8)
    for y, x in shapes
  ]
  cut = [naflex.patchify(x, patch_size, max_num_patches) for x in images]
  patches, sizes, _ = (np.stack(part) for part in zip(*cut, strict=True))
  return patches, sizes


def pixels(images: np.ndarray) -> torch.Tensor:
  """Return images as published towers take them, in -1..1, channels first."""
  x = torch.from_numpy(images.astype(np.float32))
  return ((x / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)


def embed_patches(model, patches: np.ndarray, shapes: np.ndarray) -> np.ndarray:
  """Return a Siglip2Model's embeddings of images."""
  x = torch.from_numpy(patches.astype(np.float32))
  real = np.arange(patches.shape[1]) < shapes.prod(1, keepdims=True)
  with torch.no_grad():
    return l2(
      model.get_image_features(
        pixel_values=(x / 255 - 0.5) / 0.5,
        pixel_attention_mask=torch.from_numpy(real.astype(np.int32)),
        spatial_shapes=torch.from_numpy(shapes.astype(np.int64)),
      ).pooler_output
    )


def l2(x: torch.Tensor) -> np.ndarray:
  """Return rows of L2 norm 1."""
  return torch.nn.functional.normalize(x.double(), dim=-1).float().numpy()
