"""Write the golden files of SigLIP, SigLIP 2, NaFlex, BERT and ViT.

From the repository's root, where transformers is installed (5.23.0 made those
in the repository):
  python -m tests.parity.makers.golden_siglip
"""

import pathlib
import tempfile

import numpy as np
import torch
import transformers

from tests.models.pretrained import goldens
from tests.parity.makers import published_hf as published

TOWER = {
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
}
LENGTHS = (3, 8, 5)


def main() -> None:
  """Write all files."""
  _siglip("hf_siglip", text={"projection_size": 16})
  # g-opt: the text tower is narrower than the image's.
  _siglip(
    "hf_siglip_wide",
    text={"hidden_size": 12, "projection_size": 16, "num_attention_heads": 3},
    vision={"image_size": 21},  # the last 5 pixels are in no patch
  )
  _naflex()
  _bert()
  _vit()
  _positions()


def _siglip(name: str, text, vision=None) -> None:
  config = transformers.SiglipConfig(
    text_config={
      **TOWER,
      "vocab_size": 40,
      "max_position_embeddings": 8,
      **text,
    },
    vision_config={
      **TOWER,
      "image_size": 16,
      "patch_size": 8,
      **(vision or {}),
    },
  )
  model = published.randomise(transformers.SiglipModel(config))
  images = published.make_images(3, config.vision_config.image_size)
  tokens = published.make_tokens(40, 8, LENGTHS)
  with torch.no_grad():
    output = model(
      input_ids=torch.from_numpy(tokens).long(),
      pixel_values=published.pixels(images),
    )
  _write(
    name,
    model,
    images=images,
    tokens=tokens,
    zimg=output.image_embeds.numpy(),
    ztxt=output.text_embeds.numpy(),
    scale=model.logit_scale.exp().detach().numpy()[0],
    bias=model.logit_bias.detach().numpy()[0],
  )


def _naflex() -> None:
  config = transformers.Siglip2Config(
    text_config={**TOWER, "vocab_size": 40, "max_position_embeddings": 8},
    vision_config={**TOWER, "num_patches": 16, "patch_size": 4},
  )
  model = published.randomise(transformers.Siglip2Model(config))
  # Enlarged, reduced and both; without padding and with much of it.
  patches, shapes = published.make_patches([(4, 4), (2, 7), (6, 3)], 4, 18)
  tokens = published.make_tokens(40, 8, LENGTHS)
  with torch.no_grad():
    text = model.get_text_features(torch.from_numpy(tokens).long())
  _write(
    "hf_siglip2",
    model,
    patches=patches,
    shapes=shapes,
    tokens=tokens,
    zimg=published.embed_patches(model, patches, shapes),
    ztxt=published.l2(text.pooler_output),
    scale=model.logit_scale.exp().detach().numpy()[0],
    bias=model.logit_bias.detach().numpy()[0],
  )


def _bert() -> None:
  config = transformers.BertConfig(
    **TOWER, vocab_size=40, max_position_embeddings=10
  )
  model = published.randomise(
    transformers.BertModel(config, add_pooling_layer=False)
  )
  tokens = published.make_tokens(40, 8, LENGTHS)
  ids = torch.from_numpy(tokens).long()
  with torch.no_grad():
    output = model(ids, attention_mask=(ids != 0).long())
  _write(
    "hf_bert",
    model,
    tokens=tokens,
    ztxt=published.l2(output.last_hidden_state[:, 0]),
  )


def _vit() -> None:
  config = transformers.ViTConfig(
    **TOWER, image_size=16, patch_size=8, num_labels=5
  )
  model = published.randomise(transformers.ViTForImageClassification(config))
  images = published.make_images(3, 16)
  with torch.no_grad():
    logits = model(published.pixels(images)).logits
  _write("hf_vit", model, images=images, zimg=published.l2(logits))


def _positions() -> None:
  """Write tables as open_clip and timm resize them: PyTorch's bicubic."""
  table = np.random.default_rng(0).normal(size=(36, 3)).astype(np.float32)
  grid = torch.from_numpy(table.reshape(6, 6, 3)).permute(2, 0, 1)[None]
  resized = {
    f"side{side}": torch.nn.functional.interpolate(
      grid,
      size=(side, side),
      mode="bicubic",
      align_corners=False,
      antialias=True,
    )[0]
    .permute(1, 2, 0)
    .reshape(-1, 3)
    .numpy()
    for side in (2, 4, 9)
  }
  np.savez_compressed(goldens.FOLDER / "positions.npz", table=table, **resized)


def _write(name: str, model, **arrays) -> None:
  with tempfile.TemporaryDirectory() as folder:
    found = published.found(model, pathlib.Path(folder))
  path = goldens.FOLDER / f"{name}.npz"
  goldens.write(path, found.config, found.tensors, **arrays)
  print(path, path.stat().st_size, np.__version__)


if __name__ == "__main__":
  main()
