"""Write the golden file of big_vision's SigLIP: open_clip loads and runs it.

From the repository's root, where open_clip and timm are installed (3.3.0 and
1.0.31 made the one in the repository); needs neither JAX nor this project:
  python tests/parity/makers/golden_big_vision.py
"""

import json
import pathlib
import tempfile

import numpy as np
import open_clip.convert
import open_clip.model
import timm.models
import torch

WIDTH, MLP, HEADS, DEPTH = 16, 24, 2, 2
VOCAB, LENGTH, IMAGE, PATCH = 40, 8, 16, 8
PATH = "tests/models/pretrained/golden/big_vision.npz"


@timm.models.register_model
def diptych_tiny_siglip(pretrained=False, **fields):
  """Return a tiny SigLIP image tower."""
  del pretrained
  fields = {"global_pool": "map", "num_classes": 0} | {
    key: fields[key] for key in ("global_pool", "num_classes") if key in fields
  }
  return timm.models.VisionTransformer(
    img_size=IMAGE,
    patch_size=PATCH,
    embed_dim=WIDTH,
    depth=DEPTH,
    num_heads=HEADS,
    mlp_ratio=MLP / WIDTH,
    class_token=False,
    act_layer="gelu_tanh",
    **fields,
  )


def main() -> None:
  """Write the file."""
  tensors = make_tensors(np.random.default_rng(0))
  model = open_clip.model.CustomTextCLIP(
    embed_dim=WIDTH,
    vision_cfg={
      "image_size": IMAGE,
      "timm_model_name": "diptych_tiny_siglip",
      "timm_pool": "map",
      "timm_proj": "none",
    },
    text_cfg={
      "context_length": LENGTH,
      "vocab_size": VOCAB,
      "width": WIDTH,
      "heads": HEADS,
      "layers": DEPTH,
      "mlp_ratio": MLP / WIDTH,
      "no_causal_mask": True,
      "proj_bias": True,
      "pool_type": "last",
      "norm_kwargs": {"eps": 1e-6},
      "act_kwargs": {"approximate": "tanh"},
    },
    init_logit_bias=-10,
  ).eval()
  rng = np.random.default_rng(1)
  images = rng.integers(0, 256, (3, IMAGE, IMAGE, 3), np.uint8)
  tokens = rng.integers(0, VOCAB, (3, LENGTH)).astype(np.int32)
  pixels = torch.from_numpy((images / 255 - 0.5) / 0.5).float()
  with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    file = pathlib.Path(folder) / "weights.npz"
    np.savez(file, **tensors)
    open_clip.convert.load_big_vision_weights(model, str(file))
    zimg = model.encode_image(pixels.permute(0, 3, 1, 2), normalize=True)
    ztxt = model.encode_text(torch.from_numpy(tokens).long(), normalize=True)
    scale, bias = model.logit_scale.exp(), model.logit_bias
  np.savez_compressed(
    PATH,
    config=np.asarray(json.dumps({})),
    **{f"tensor:{name}": x for name, x in tensors.items()},
    images=images,
    tokens=tokens,
    zimg=zimg.numpy(),
    ztxt=ztxt.numpy(),
    scale=scale.numpy(),
    bias=bias.detach().numpy(),
  )
  print(PATH, pathlib.Path(PATH).stat().st_size)


def make_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Return random tensors by big_vision's names."""
  tensors = {}

  def add(name, *shape, mean=0.0, scale=0.3):
    x = mean + scale * rng.normal(size=shape)
    tensors[f"params/{name}"] = x.astype(np.float32)

  def norm(name):
    add(f"{name}/scale", WIDTH, mean=1.0)
    add(f"{name}/bias", WIDTH)

  def attention_and_mlp(name):
    attention = f"{name}/MultiHeadDotProductAttention_0"
    for part in ("query", "key", "value"):
      add(f"{attention}/{part}/kernel", WIDTH, HEADS, WIDTH // HEADS)
      add(f"{attention}/{part}/bias", HEADS, WIDTH // HEADS)
    add(f"{attention}/out/kernel", HEADS, WIDTH // HEADS, WIDTH)
    add(f"{attention}/out/bias", WIDTH)
    for part, (ins, outs) in enumerate([(WIDTH, MLP), (MLP, WIDTH)]):
      add(f"{name}/MlpBlock_0/Dense_{part}/kernel", ins, outs)
      add(f"{name}/MlpBlock_0/Dense_{part}/bias", outs)

  def encoder(name):
    for layer in range(DEPTH):
      block = f"{name}/encoderblock_{layer}"
      norm(f"{block}/LayerNorm_0")
      norm(f"{block}/LayerNorm_1")
      attention_and_mlp(block)
    norm(f"{name}/encoder_norm")

  add("img/embedding/kernel", PATCH, PATCH, 3, WIDTH)
  add("img/embedding/bias", WIDTH)
  add("img/pos_embedding", 1, (IMAGE // PATCH) ** 2, WIDTH)
  encoder("img/Transformer")
  add("img/MAPHead_0/probe", 1, 1, WIDTH)
  norm("img/MAPHead_0/LayerNorm_0")
  attention_and_mlp("img/MAPHead_0")
  add("txt/Embed_0/embedding", VOCAB, WIDTH)
  add("txt/pos_embedding", 1, LENGTH, WIDTH)
  encoder("txt/Encoder_0")
  add("txt/head/kernel", WIDTH, WIDTH)
  add("txt/head/bias", WIDTH)
  add("t", 1, mean=2.0)
  add("b", 1, mean=-3.0)
  return tensors


if __name__ == "__main__":
  main()
