"""Forward and backward of transformers' Swin-T, for benchmarks/swin.py.

The script runs in an environment with torch and transformers. It prints
"ready", then answers each line on stdin with the seconds of one step.
"""

import argparse
import sys
import time

import torch
import transformers
from transformers.models.swin import modeling_swin


def make_step(batch_size: int):
  """Return a function that computes one gradient."""
  config = transformers.SwinConfig(drop_path_rate=0.0)
  model = modeling_swin.SwinModel(config).train()
  images = torch.randn(batch_size, 3, 224, 224)

  def step() -> float:
    model.zero_grad()
    loss = model(images).pooler_output.square().mean()
    loss.backward()
    return loss.item()

  return step


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  torch.set_num_threads(args.num_threads)
  step = make_step(args.batch_size)
  step()  # allocates the gradients
  print("ready", flush=True)
  for _ in sys.stdin:
    start = time.perf_counter()
    step()
    print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
  main()
