"""Training batches of open_clip's WebDataset loader, for benchmarks/data.py.

The script runs in an environment with torch, open_clip, webdataset, braceexpand
and pandas. It prints "ready", then answers each line on stdin with the seconds
of an epoch after each worker's first batch, the images of that time, and the
images of the whole epoch.
"""

import argparse
import sys
import time
import types

import open_clip
import torch
from open_clip_train import data


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--shards", required=True, help="Tars, by braces.")
  parser.add_argument("--num_examples", type=int, required=True)
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--num_workers", type=int, required=True)
  parser.add_argument("--image_size", type=int, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  torch.set_num_threads(args.num_threads)
  info = data.get_wds_dataset(
    types.SimpleNamespace(
      train_data=args.shards,
      train_num_samples=args.num_examples,
      train_data_upsampling_factors=None,
      dataset_resampled=False,
      seed=0,
      batch_size=args.batch_size,
      workers=args.num_workers,
      world_size=1,
    ),
    # RandomResizedCrop of 0.9 to 1.0 of the area, bicubic, to floats.
    open_clip.image_transform(args.image_size, is_train=True),
    is_train=True,
    tokenizer=open_clip.get_tokenizer("ViT-B-32"),
  )

  def epoch(number: int) -> tuple[float, int, int]:
    info.set_epoch(number)
    sizes = []
    start = 0.0
    for images, _ in info.dataloader:
      sizes.append(len(images))
      if len(sizes) == args.num_workers:
        start = time.perf_counter()
    seconds = time.perf_counter() - start
    return seconds, sum(sizes[args.num_workers :]), sum(sizes)

  epoch(0)  # starts the workers
  print("ready", flush=True)
  for number, _ in enumerate(sys.stdin, 1):
    print(*epoch(number), flush=True)


if __name__ == "__main__":
  main()
