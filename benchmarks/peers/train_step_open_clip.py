"""Training steps of open_clip, for benchmarks/train_step.py.

The script runs in an environment with torch and open_clip. It prints "ready",
then answers each line on stdin with the seconds of one step.
"""

import argparse
import sys
import time

import open_clip
import torch

_LAST_ID = 49407  # last id of the vocabulary: end of text


def make_step(precision: str, batch_size: int):
  """Return a function that makes one training step and reads its loss."""
  model = open_clip.create_model("ViT-B-32-quickgelu").train()
  images = torch.randn(batch_size, 3, 224, 224)
  tokens = torch.randint(1, _LAST_ID, (batch_size, 77))
  tokens[:, -1] = _LAST_ID
  loss_fn = open_clip.ClipLoss()
  # On this model, fused is faster than foreach and the plain loop.
  optimizer = torch.optim.AdamW(
    model.parameters(),
    lr=5e-4,
    betas=(0.9, 0.98),
    eps=1e-6,
    weight_decay=0.2,
    fused=True,
  )

  def step() -> float:
    optimizer.zero_grad()
    with torch.autocast(
      "cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"
    ):
      zimg, ztxt, scale = model(images, tokens)
      loss = loss_fn(zimg, ztxt, scale)
    loss.backward()
    optimizer.step()
    return loss.item()

  return step


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--precision", required=True)
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  torch.set_num_threads(args.num_threads)
  step = make_step(args.precision, args.batch_size)
  step()  # allocates the optimizer's state
  print("ready", flush=True)
  for _ in sys.stdin:
    start = time.perf_counter()
    step()
    print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
  main()
