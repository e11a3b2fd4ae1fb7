"""Image embeddings of open_clip, for benchmarks/embed.py.

The script runs in an environment with torch and open_clip. It prints "ready",
then answers each line on stdin with the seconds of one batch.
"""

import argparse
import sys
import time

import open_clip
import torch


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--model", required=True)
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  torch.set_num_threads(args.num_threads)
  model = open_clip.create_model(args.model).eval()
  images = torch.randn(args.batch_size, 3, *model.visual.image_size)
  with torch.inference_mode():
    model.encode_image(images, normalize=True)
    print("ready", flush=True)
    for _ in sys.stdin:
      start = time.perf_counter()
      model.encode_image(images, normalize=True).numpy()
      print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
  main()
