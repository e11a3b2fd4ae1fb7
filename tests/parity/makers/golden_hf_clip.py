"""transformers' CLIP and MetaCLIP 2 with random weights: small, and in full.

`python -m tests.parity.makers.golden_hf_clip` writes the golden files.
"""

import torch
import transformers

from tests.models.pretrained import goldens
from tests.parity.makers import published

_SIZES = {
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "projection_dim": 12,
}
_EOT = 40
# config.json's sections: what differs from the sizes above.
VARIANTS = {
  "clip": ("clip", {}, {}),
  # Exact GELU, other epsilons, a token above the end of text.
  "clip_gelu": (
    "clip",
    {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "vocab_size": _EOT + 2},
    {"hidden_act": "gelu", "layer_norm_eps": 1e-4},
  ),
  # As OpenAI's configs first were: the highest id ends a caption.
  "clip_old_eos": ("clip", {"eos_token_id": 2}, {}),
  "metaclip_2": ("metaclip_2", {"eos_token_id": 2}, {}),
}


def tiny(name: str) -> transformers.PreTrainedModel:
  """Return the random model of a variant."""
  kind, text, image = VARIANTS[name]
  return make(
    kind,
    {
      "vocab_size": _EOT + 1,
      "hidden_size": 16,
      "max_position_embeddings": 10,
      "bos_token_id": 1,
      "eos_token_id": _EOT,
      **_SIZES,
      **text,
    },
    {"hidden_size": 20, "image_size": 12, "patch_size": 4, **_SIZES, **image},
    projection_dim=12,
  )


def make(kind: str, text: dict, image: dict, **fields):
  """Return a random model; `kind` is config.json's model_type."""
  if kind == "clip":
    classes = transformers.CLIPConfig, transformers.CLIPModel
  else:
    classes = transformers.MetaClip2Config, transformers.MetaClip2Model
  config = classes[0](text_config=text, vision_config=image, **fields)
  return published.randomise(classes[1](config))


def inputs(model):
  """Return images and captions, padded as the model's tokenizer does."""
  text = model.config.text_config
  old = model.config.model_type == "clip" and text.eos_token_id == 2
  eot = text.vocab_size - 1 if old else text.eos_token_id
  length = text.max_position_embeddings
  # "!" and then less than the end of text; ids of MetaCLIP 2 are above it.
  tokens = published.captions((3, length, 6), length, max(eot, _EOT))
  if eot != max(eot, _EOT):
    tokens[tokens == _EOT] = eot
  if not old and eot + 1 < text.vocab_size:
    tokens[1, 3] = text.vocab_size - 1  # the highest id ends nothing here
  return published.images(3, model.config.vision_config.image_size), tokens


def compute(model, images, tokens) -> dict:
  """Return zimg, ztxt and scale."""
  with torch.no_grad():
    out = model(
      input_ids=torch.from_numpy(tokens).long(),
      pixel_values=published.pixels(images),
    )
  return {
    "zimg": published.normalised(out.image_embeds),
    "ztxt": published.normalised(out.text_embeds),
    "scale": model.logit_scale.exp().item(),
  }


def compute_one(model, images, tokens):
  """Return the embeddings of a model of one tower."""
  with torch.no_grad():
    if model.config.model_type == "clip_text_model":
      out = model(input_ids=torch.from_numpy(tokens).long())
    else:
      out = model(pixel_values=published.pixels(images))
  for field in ("text_embeds", "image_embeds", "pooler_output"):
    if field in out:  # the last where there is no projection
      return published.normalised(out[field])
  raise AssertionError(list(out))


def main() -> None:
  for name in VARIANTS:
    model = tiny(name)
    images, tokens = inputs(model)
    goldens.write(
      goldens.FOLDER / f"hf_{name}.npz",
      model.config.to_diff_dict(),
      published.tensors(model),
      images=images,
      tokens=tokens,
      **compute(model, images, tokens),
    )


if __name__ == "__main__":
  main()
