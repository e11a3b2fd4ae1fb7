"""Greedy captions of open_clip's CoCa B/32, for benchmarks/coca_generation.py.

The script runs in an environment with torch, open_clip_torch and transformers
before 4.50. It makes a random model, writes it and a batch of images to a
folder with the tokens of its captions, prints "ready", then answers each line
on stdin with the seconds of one batch.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch

# Run as a file, this has its own folder in front of the path.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.parity import torchvision_loading  # noqa: E402

torchvision_loading.load()  # open_clip imports it

import open_clip  # noqa: E402
import safetensors.torch  # noqa: E402

from tests.parity.makers import published  # noqa: E402


def make_model(folder: pathlib.Path) -> torch.nn.Module:
  """Return a model of open_clip's own initial values, and write it."""
  torch.manual_seed(0)
  model_cfg = open_clip.get_model_config("coca_ViT-B-32")
  fields = dict(model_cfg)
  fields.pop("custom_text")
  model = open_clip.CoCa(**fields).eval()
  with torch.no_grad():  # open_clip leaves it empty
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.05)
  tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
  safetensors.torch.save_file(tensors, folder / "open_clip_model.safetensors")
  config = {
    "model_cfg": model_cfg,
    "preprocess_cfg": {"mean": published.MEAN, "std": published.STD},
  }
  (folder / "open_clip_config.json").write_text(json.dumps(config))
  return model


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--num_tokens", type=int, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  torch.set_num_threads(args.num_threads)
  model = make_model(args.folder)
  images = published.images(args.batch_size, 224, block=32)
  pixels = published.pixels(images)

  def generate() -> np.ndarray:
    return model.generate(
      pixels,
      seq_len=args.num_tokens,
      generation_type="top_k",
      top_k=1,
      fixed_output_length=True,
    ).numpy()

  np.save(args.folder / "images.npy", images)
  np.save(args.folder / "tokens.npy", generate())
  print("ready", flush=True)
  for _ in sys.stdin:
    start = time.perf_counter()
    generate()
    print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
  main()
