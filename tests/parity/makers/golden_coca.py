"""open_clip's CoCa with random weights, small: logits, and texts it writes.

It needs the environment of golden_beams.py: torch, open_clip_torch 3.3.0 and
"transformers==4.49.0", whose later versions have no BeamSearchScorer.

Run: python -m tests.parity.makers.golden_coca
"""

import json
import pathlib

import numpy as np
import torch

from tests.parity import torchvision_loading

torchvision_loading.load()  # open_clip imports it

from open_clip import coca_model  # noqa: E402

from tests.parity.makers import published  # noqa: E402

PATH = pathlib.Path("tests/models/decoding/golden/coca.npz")
LENGTH, VOCAB_SIZE, WIDTH = 10, 24, 16
BEGIN, END, PAD = 22, 23, 0
NUM_IMAGES, IMAGE_SIZE = 12, 12


def config(**fields) -> dict:
  """Return "model_cfg"; `fields` replace its own."""
  text = {
    "context_length": LENGTH,
    "vocab_size": VOCAB_SIZE,
    "width": WIDTH,
    "heads": 2,
    "layers": 2,
  }
  return {
    "embed_dim": WIDTH,
    "vision_cfg": {
      "image_size": IMAGE_SIZE,
      "patch_size": 4,
      "layers": 1,
      "width": 12,
      "head_width": 6,
      "mlp_ratio": 1.5,
      "attentional_pool": True,
      "attn_pooler_heads": 4,
      "attn_pooler_queries": 5,
      "output_tokens": True,
    },
    "text_cfg": {
      **text,
      "mlp_ratio": 2.0,
      "embed_cls": True,
      "output_tokens": True,
    },
    "multimodal_cfg": {**text, "heads": 4},
    **fields,
  }


def make(model_cfg: dict, seed: int = 3) -> torch.nn.Module:
  """Return a random model whose next words depend on image and text.

  Scales and seed were chosen so that texts differ, and that some end early, by
  their end and by the padding's id.
  """
  model = published.randomise(coca_model.CoCa(**model_cfg), seed)
  with torch.no_grad():
    for name, p in model.named_parameters():
      if p.ndim == 1 and name.endswith("bias"):
        p.mul_(0.2)
    model.text.token_embedding.weight.mul_(12)
    model.text.positional_embedding.mul_(4)
    model.text_decoder.text_projection.mul_(4)
    for block in model.text_decoder.cross_attn:
      block.attn.out_proj.weight.mul_(2)
  return model


def logits(model, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
  """Return the logits behind each token, float32 [b, L, V]."""
  with torch.no_grad():
    found = model(
      published.pixels(images),
      torch.from_numpy(tokens).long(),
      output_labels=False,
    )
  return found["logits"].numpy()


def texts(model, images: np.ndarray, kind: str, **fields) -> np.ndarray:
  """Return what `generate` writes, padded, int32 [b, LENGTH]."""
  found = model.generate(
    published.pixels(images),
    seq_len=LENGTH,
    generation_type=kind,
    sot_token_id=BEGIN,
    eos_token_id=END,
    fixed_output_length=True,
    **fields,
  )
  return found.numpy().astype(np.int32)


def main() -> None:
  """Write the file."""
  torch.set_num_threads(1)  # more only wait for each other on arrays this small
  model_cfg = config()
  model = make(model_cfg)
  # Images have one colour each, which no average takes away.
  images = published.images(NUM_IMAGES, IMAGE_SIZE, block=IMAGE_SIZE)
  tokens = published.captions((3, 10, 6), LENGTH, END)
  # The defaults of `generate`, and a shorter minimum: texts end early.
  written = {
    "greedy/5": texts(model, images, "top_k", top_k=1),
    "greedy/2": texts(model, images, "top_k", top_k=1, min_seq_len=2),
    "beams/5": texts(model, images, "beam_search"),
    "beams/2": texts(model, images, "beam_search", min_seq_len=2),
    "beams_of_one_group/5": texts(
      model, images, "beam_search", num_beams=4, num_beam_groups=1
    ),
  }
  for name, rows in written.items():
    print(name)
    print(rows)
  PATH.parent.mkdir(exist_ok=True)
  np.savez_compressed(
    PATH,
    config=np.asarray(json.dumps({"model_cfg": model_cfg})),
    images=images,
    tokens=tokens,
    logits=logits(model, images[: len(tokens)], tokens),
    **written,
    **{f"tensor:{k}": v for k, v in published.tensors(model).items()},
  )


if __name__ == "__main__":
  main()
