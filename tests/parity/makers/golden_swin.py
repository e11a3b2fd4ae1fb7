"""Write the golden files of Swin and of UniCL.

From the repository's root, where transformers is installed (5.24.0 made those
in the repository):
  python -m tests.parity.makers.golden_swin

UniCL's code needs an old timm. Its golden model is therefore put together from
parts of the same definition: transformers' Swin, under UniCL's names, and
torch.nn.MultiheadAttention in the text tower.
"""

import pathlib
import tempfile

import numpy as np
import torch
import transformers

from tests.models.pretrained import goldens
from tests.parity.makers import golden_efficientnet, published_hf

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Grids of 10 x 10 tokens, in padded windows, and of 5 x 5, an odd side; three
# blocks in a stage.
SWIN = {
  "embed_dim": 8,
  "depths": [2, 3],
  "num_heads": [2, 4],
  "window_size": 4,
  "image_size": 38,
  "mlp_ratio": 2.0,
}
# Grids of 8 x 8, 4 x 4 and 2 x 2 tokens: shifted windows, one window, and one
# window smaller than the others, for which UniCL has a smaller table.
UNICL = {
  "embed_dim": 8,
  "depths": [2, 1, 1],
  "num_heads": [1, 2, 4],
  "image_size": 32,
}
WINDOWS = (4, 4, 2)
EOT, CONTEXT, WIDTH, EMBED_DIM = 40, 10, 16, 12


def main() -> None:
  """Write all files."""
  config = transformers.SwinConfig(**SWIN)
  _write_images("hf_swin", transformers.SwinModel(config))
  config.num_labels = 5
  _write_images(
    "hf_swin_labels", transformers.SwinForImageClassification(config)
  )
  _unicl()


def embed(model, images: np.ndarray) -> torch.Tensor:
  """Return what a model of transformers makes of images."""
  x = golden_efficientnet.pixels(images, MEAN, STD)
  with torch.no_grad():
    output = model.eval()(pixel_values=x)
  return output.logits if "logits" in output else output.pooler_output


def randomise(model: torch.nn.Module) -> torch.nn.Module:
  """Return the model, no tensor of it 0 or 1 throughout."""
  published_hf.randomise(model)
  generator = torch.Generator().manual_seed(1)
  with torch.no_grad():
    for name, x in model.named_parameters():
      if name.endswith("relative_position_bias_table"):
        x.copy_(torch.randn(x.shape, generator=generator))
  return model


def _write_images(name: str, model) -> None:
  images = published_hf.make_images(2, SWIN["image_size"])
  randomise(model)
  zimg = published_hf.l2(embed(model, images))
  with tempfile.TemporaryDirectory() as folder:
    found = published_hf.found(model, pathlib.Path(folder))
  goldens.write(
    goldens.FOLDER / f"{name}.npz",
    found.config,
    found.tensors,
    images=images,
    zimg=zimg,
  )


class Text(torch.nn.Module):
  """UniCL's text tower: CLIP's layers, norms with an epsilon of 1e-12."""

  def __init__(self, depth: int = 2, heads: int = 1):
    super().__init__()
    self.token_embedding = torch.nn.Embedding(EOT + 1, WIDTH)
    self.positional_embedding = torch.nn.Parameter(torch.zeros(CONTEXT, WIDTH))
    self.resblocks = torch.nn.ModuleList(_layer(heads) for _ in range(depth))
    self.ln_final = torch.nn.LayerNorm(WIDTH, 1e-12)

  def forward(self, ids: torch.Tensor) -> torch.Tensor:
    x = self.token_embedding(ids) + self.positional_embedding
    past = torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1)
    for layer in self.resblocks:
      y = layer["ln_1"](x)
      x = x + layer["attn"](y, y, y, attn_mask=past, need_weights=False)[0]
      y = layer["mlp"]["c_fc"](layer["ln_2"](x))
      x = x + layer["mlp"]["c_proj"](y * torch.sigmoid(1.702 * y))
    return self.ln_final(x)[torch.arange(len(ids)), ids.argmax(1)]


def _layer(heads: int) -> torch.nn.ModuleDict:
  linear = torch.nn.Linear
  attn = torch.nn.MultiheadAttention(WIDTH, heads, batch_first=True)
  return torch.nn.ModuleDict(
    {
      "ln_1": torch.nn.LayerNorm(WIDTH, 1e-12),
      "attn": attn,
      "mlp": torch.nn.ModuleDict(
        {
          "c_fc": linear(WIDTH, 4 * WIDTH),
          "c_proj": linear(4 * WIDTH, WIDTH),
        }
      ),
      "ln_2": torch.nn.LayerNorm(WIDTH, 1e-12),
    }
  )


def make_unicl() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Return the tensors of a random UniCL, and what it makes of inputs."""
  torch.manual_seed(0)  # biases keep the mean that PyTorch gave them
  image = transformers.SwinModel(
    transformers.SwinConfig(**UNICL, window_size=WINDOWS[0])
  )
  # A table for each stage's own window, where UniCL's code makes one.
  for stage, window in zip(image.encoder.layers, WINDOWS, strict=True):
    for block in stage.blocks:
      heads = block.attention.num_attention_heads
      kind = type(block.attention.relative_position_bias)
      block.attention.relative_position_bias = kind(heads, (window, window))
      block.window_size = window
  text = Text()
  for model in (image, text):
    randomise(model)
  generator = torch.Generator().manual_seed(2)
  width = image.num_features
  image_projection, text_projection = (
    torch.randn((n, EMBED_DIM), generator=generator) / n**0.5
    for n in (width, WIDTH)
  )
  images = published_hf.make_images(3, UNICL["image_size"])
  tokens = published_hf.make_tokens(EOT, CONTEXT, (3, CONTEXT - 1, 6))
  tokens[np.arange(3), (3, CONTEXT - 1, 6)] = EOT
  with torch.no_grad():
    zimg = embed(image, images) @ image_projection
    ztxt = text(torch.from_numpy(tokens).long()) @ text_projection
  with tempfile.TemporaryDirectory() as folder:
    found = published_hf.found(image, pathlib.Path(folder))
  tensors = {
    "logit_scale": np.float32(2.5),
    "image_projection": image_projection.numpy(),
    "text_projection": text_projection.numpy(),
    **{
      f"text_encoder.{name}": x.detach().numpy()
      for name, x in text.state_dict().items()
    },
    **_renamed(found.tensors),
  }
  return tensors, {
    "images": images,
    "tokens": tokens,
    "zimg": published_hf.l2(zimg),
    "ztxt": published_hf.l2(ztxt),
    "scale": np.exp(np.float32(2.5)),
    "bias": np.float32(0),
  }


def _renamed(tensors) -> dict[str, np.ndarray]:
  """Return a Swin's tensors under the names of UniCL's state dict."""
  result = {}
  qkv = "attention.self."
  for name, x in tensors.items():
    if f"{qkv}key." in name or f"{qkv}value." in name:
      continue
    if f"{qkv}query." in name:
      parts = (
        name.replace("query", part) for part in ("query", "key", "value")
      )
      x = np.concatenate([tensors[part] for part in parts])
    for old, new in (
      ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
      ("embeddings.norm", "patch_embed.norm"),
      ("encoder.layers", "layers"),
      ("layernorm_before", "norm1"),
      ("layernorm_after", "norm2"),
      (f"{qkv}query", "attn.qkv"),
      (f"{qkv}relative", "attn.relative"),
      ("attention.output.dense", "attn.proj"),
      ("intermediate.dense", "mlp.fc1"),
      ("output.dense", "mlp.fc2"),
      ("layernorm", "norm"),
    ):
      name = name.replace(old, new)
    result[f"image_encoder.{name}"] = x
  return result


def _unicl() -> None:
  tensors, arrays = make_unicl()
  goldens.write(goldens.FOLDER / "unicl.npz", {}, tensors, **arrays)


if __name__ == "__main__":
  main()
