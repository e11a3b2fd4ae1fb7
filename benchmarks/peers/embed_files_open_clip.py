"""Embeddings of JPEG files by open_clip, for benchmarks/embed_files.py.

The script runs in an environment with torch, torchvision and open_clip. It
prints "ready", then answers each line on stdin with the seconds in which it
embeds all files: its own transform in a DataLoader of two workers, and
encode_image.
"""

import argparse
import pathlib
import sys
import time

import open_clip
import torch
from PIL import Image


class Files(torch.utils.data.Dataset):
  """Transformed images of files."""

  def __init__(self, paths, transform):
    self._paths = paths
    self._transform = transform

  def __len__(self):
    return len(self._paths)

  def __getitem__(self, index):
    with Image.open(self._paths[index]) as image:
      return self._transform(image)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--model", required=True)
  parser.add_argument("--folder", required=True, help="JPEG files.")
  parser.add_argument("--batch_size", type=int, required=True)
  parser.add_argument("--num_workers", type=int, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  torch.set_num_threads(args.num_threads)
  model, _, transform = open_clip.create_model_and_transforms(args.model)
  model.eval()
  paths = sorted(pathlib.Path(args.folder).glob("*.jpg"))
  loader = torch.utils.data.DataLoader(
    Files(paths, transform),
    batch_size=args.batch_size,
    num_workers=args.num_workers,
    persistent_workers=True,  # started once, before the first round
  )

  def embed() -> float:
    start = time.perf_counter()
    with torch.inference_mode():
      parts = [model.encode_image(x, normalize=True).numpy() for x in loader]
    assert sum(map(len, parts)) == len(paths)
    return time.perf_counter() - start

  embed()
  print("ready", flush=True)
  for _ in sys.stdin:
    print(embed(), flush=True)


if __name__ == "__main__":
  main()
