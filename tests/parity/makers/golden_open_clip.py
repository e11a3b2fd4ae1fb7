"""open_clip's models with random weights, small, and what they compute.

`python -m tests.parity.makers.golden_open_clip` writes the golden files, in an
environment with open_clip_torch 3.3.0 and timm 1.0.31; it may have no JAX.
"""

import json
import pathlib

import numpy as np
import open_clip
import timm
import torch
from open_clip import model as model_lib

from tests.parity.makers import published

FOLDER = pathlib.Path(__file__).parents[2] / "models/pretrained/golden"
_IMAGE = {
  "image_size": 12,
  "patch_size": 4,
  "layers": 2,
  "width": 20,
  "head_width": 10,
  "mlp_ratio": 1.3,
}
_TEXT = {
  "context_length": 10,
  "vocab_size": 41,
  "width": 16,
  "heads": 2,
  "layers": 2,
  "mlp_ratio": 2.0,
}
_COCA = {
  "image": {
    "attentional_pool": True,
    "attn_pooler_heads": 4,
    "attn_pooler_queries": 5,
    "output_tokens": True,
  },
  "text": {"embed_cls": True, "output_tokens": True},
}
# Beside the sizes above: of the model, the image tower, the text tower.
CONFIGS = {
  "vit": ({}, {}, {}),
  # As MetaCLIP 2: another end of text, QuickGELU.
  "eos": (
    {"quick_gelu": True},
    {"norm_kwargs": {"eps": 1e-4}},
    {"pool_type": "eos", "eos_id": 2},
  ),
  # As SigLIP's text tower, and a bias of the logits.
  "custom": (
    {"custom_text": True, "init_logit_bias": -9.0},
    {"act_kwargs": {"approximate": "tanh"}},
    {
      "no_causal_mask": True,
      "proj_bias": True,
      "pool_type": "last",
      "norm_kwargs": {"eps": 1e-3},
      "act_kwargs": {"approximate": "tanh"},
    },
  ),
  "coca": ({"custom_text": True}, _COCA["image"], _COCA["text"]),
  # CoCa whose image tower is as wide as the embedding.
  "coca_wide": (
    {"custom_text": True, "embed_dim": 20},
    _COCA["image"],
    _COCA["text"],
  ),
}
# A ResNet that open_clip makes is too large for a golden file.
RESNET = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8}


def config(name: str) -> dict:
  """Return "model_cfg" of a variant, or of "resnet"."""
  if name == "resnet":
    return {"embed_dim": 12, "vision_cfg": RESNET, "text_cfg": _TEXT}
  fields, image, text = CONFIGS[name]
  result = {
    "embed_dim": 12,
    "vision_cfg": _IMAGE | image,
    "text_cfg": _TEXT | text,
    **fields,
  }
  if name.startswith("coca"):
    sizes = {k: _TEXT[k] for k in ("context_length", "vocab_size", "width")}
    result["multimodal_cfg"] = {**sizes, "heads": 2, "layers": 1}
  return result


def make(model_cfg: dict) -> torch.nn.Module:
  """Return a random model, of the class that open_clip takes for it."""
  fields = dict(model_cfg)
  custom = fields.pop("custom_text", False)
  if "multimodal_cfg" in fields:
    kind = open_clip.CoCa
  else:
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
  return published.randomise(kind(**fields))


def siglip() -> tuple[torch.nn.Module, dict]:
  """Return a small SigLIP as open_clip holds it, and its config.

  Of sizes and with an activation for which timm has no name.
  """
  model_cfg = config("custom")
  model = make(model_cfg | {"embed_dim": 24})
  model.visual = model_lib.TimmModel(
    "test_vit", embed_dim=24, image_size=16, pool="avg", proj="none"
  )
  # Described as models/pretrained/parts/timm_trunk.py has it.
  described = {
    "architecture": "vit_base_patch16_siglip_224",
    "pretrained_cfg": {},
    "model_args": {
      "img_size": 16,
      "patch_size": 8,
      "embed_dim": 24,
      "depth": 2,
      "num_heads": 2,
      "mlp_ratio": 1.5,
      "act_layer": "gelu_tanh",
    },
  }
  model.visual.trunk = timm.create_model(
    described["architecture"],
    num_classes=0,
    global_pool="map",
    **described["model_args"],
  )
  published.randomise(model)
  vision = {
    "image_size": 16,
    "timm_model_name": "local-dir:timm",
    "timm_model_pretrained": False,
    "timm_pool": "map",
    "timm_proj": "none",
  }
  return model, {
    "model_cfg": model_cfg | {"embed_dim": 24, "vision_cfg": vision},
    "timm_cfg": described,
  }


def openai() -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
  """Return a model of OpenAI's state dict, and that state dict.

  Few values, in half precision as in the archives: heads there have 64, and
  such arrays are still small files.
  """
  sizes = {"width": 64, "layers": 1}
  model_cfg = config("vit")
  model_cfg["quick_gelu"] = True
  model_cfg["vision_cfg"] |= {**sizes, "head_width": 64, "mlp_ratio": 4.0}
  model_cfg["text_cfg"] |= {**sizes, "heads": 1, "mlp_ratio": 4.0}
  model = make(model_cfg)
  with torch.no_grad():
    for p in model.parameters():
      if p.ndim > 1:
        step = p.std() * 1.5
        p.copy_(torch.round(p / step) * step)
  model_lib.convert_weights_to_fp16(model)
  tensors = published.tensors(model)
  for name, value in (
    ("input_resolution", 12),
    ("context_length", 10),
    ("vocab_size", 41),
  ):
    tensors[name] = np.asarray(value)
  state = {k: torch.from_numpy(v) for k, v in tensors.items()}
  built = model_lib.build_model_from_openai_state_dict(state)
  return built.float().eval(), tensors


def inputs(eot_id: int, image_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Return images and captions; ids are below the highest one."""
  tokens = published.captions((3, 10, 6), 10, 40)
  tokens[tokens == 40] = eot_id
  if eot_id != 40:
    tokens[1, 3] = 40  # the highest id ends nothing here
  return published.images(3, image_size), tokens


def compute(model, images, tokens) -> dict:
  """Return zimg, ztxt, scale, and bias where there is one."""
  with torch.no_grad():
    zimg = model.encode_image(published.pixels(images))
    ztxt = model.encode_text(torch.from_numpy(tokens).long())
  arrays = {
    "zimg": published.normalised(zimg),
    "ztxt": published.normalised(ztxt),
    "scale": model.logit_scale.exp().item(),
  }
  if model.logit_bias is not None:
    arrays["bias"] = model.logit_bias.item()
  return arrays


def write(name, model, config, tensors, eot_id=40, image_size=12) -> None:
  """Write a golden file, as tests/models/pretrained/goldens.py reads it."""
  images, tokens = inputs(eot_id, image_size)
  np.savez_compressed(
    FOLDER / f"{name}.npz",
    config=np.asarray(json.dumps(config)),
    images=images,
    tokens=tokens,
    **{f"tensor:{k}": v for k, v in tensors.items()},
    **compute(model, images, tokens),
  )


def main() -> None:
  pixels = {"mean": published.MEAN, "std": published.STD}
  for name in CONFIGS:
    model_cfg = config(name)
    model = make(model_cfg)
    write(
      f"open_clip_{name}",
      model,
      {"model_cfg": model_cfg, "preprocess_cfg": pixels},
      published.tensors(model),
      eot_id=2 if name == "eos" else 40,
    )
  model, described = siglip()
  write(
    "open_clip_siglip",
    model,
    {**described, "preprocess_cfg": pixels},
    published.tensors(model),
    image_size=16,
  )
  model, tensors = openai()
  write("openai_clip", model, {}, tensors)


if __name__ == "__main__":
  main()
