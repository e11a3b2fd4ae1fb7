"""Small random models of published implementations, and what they compute.

Needs torch; JAX is imported by none of this, as the environment of open_clip
has none.
"""

import numpy as np
import torch

# OpenAI's, of CLIP.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
  """Fill parameters and statistics, so that no 0 or 1 hides a mistake."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, p in model.named_parameters():
      noise = torch.randn(p.shape, generator=generator)
      if name.endswith("logit_scale"):
        p.copy_(2.0 + 0.1 * noise)
      elif p.ndim == 1 and name.endswith("weight"):  # of a norm
        p.copy_(1.0 + 0.3 * noise)
      else:
        fan_in = p[0].numel() if p.ndim > 1 else 10
        p.copy_(noise / max(fan_in, 10) ** 0.5)
    for name, x in model.named_buffers():
      if name.endswith(("running_mean", "running_var")):
        noise = torch.randn(x.shape, generator=generator)
        # Statistics of activations of size 1; a variance is never negative.
        x.copy_(0.1 * noise + float(name.endswith("var")))
  return model.eval()


def tensors(model: torch.nn.Module) -> dict[str, np.ndarray]:
  """Return what a file of the model holds."""
  return {k: v.detach().numpy() for k, v in model.state_dict().items()}


def images(count: int, size: int, block: int = 1) -> np.ndarray:
  """Return uint8 noise, [count, size, size, 3], in squares of one colour.

  Large squares are told apart by a model that averages over many pixels too.
  """
  rng = np.random.default_rng(1)
  side = -(-size // block)
  noise = rng.integers(0, 256, (count, side, side, 3), np.uint8)
  return noise.repeat(block, 1).repeat(block, 2)[:, :size, :size]


def pixels(images: np.ndarray, mean=MEAN, std=STD) -> torch.Tensor:
  """Return what a published model takes, [b, 3, size, size]."""
  x = (images.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
  return torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2)


def captions(
  lengths, num_tokens: int, eot_id: int, pad_id: int = 0, seed: int = 2
) -> np.ndarray:
  """Return int32 ids below `eot_id`, an end of text, padding.

  Ids are above 2; the second one of the longest caption is 0, in CLIP "!".
  """
  rng = np.random.default_rng(seed)
  rows = np.full((len(lengths), num_tokens), pad_id, np.int32)
  for row, length in zip(rows, lengths, strict=True):
    row[: length - 1] = rng.integers(3, eot_id, length - 1)
    row[length - 1] = eot_id
  rows[int(np.argmax(lengths)), 1] = 0
  return rows


def normalised(x: torch.Tensor) -> np.ndarray:
  """Return rows of L2 norm 1."""
  x = x.detach().float()
  return (x / x.norm(dim=-1, keepdim=True)).numpy()
