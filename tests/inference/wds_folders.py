"""Small `wds_*` folders of noise."""

import io
import pathlib
import tarfile
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image


def noise(count: int, height: int = 20, width: int = 30) -> list[bytes]:
  """Return images as PNG."""
  rng = np.random.default_rng(0)
  made = []
  for pixels in rng.integers(0, 256, (count, height, width, 3), np.uint8):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    made.append(buffer.getvalue())
  return made


def write(
  folder: pathlib.Path,
  samples: Sequence[Mapping[str, bytes]],
  texts: Mapping[str, str],
  num_shards: int = 2,
  split: str = "test",
) -> None:
  """Write a set: samples by extension, and text files of the folder."""
  (folder / split).mkdir(parents=True)
  for name, text in texts.items():
    (folder / name).write_text(text)
  (folder / split / "nshards.txt").write_text(str(num_shards))
  for shard in range(num_shards):
    with tarfile.open(folder / split / f"{shard}.tar", "w") as tar:
      for row, sample in enumerate(samples):
        if row * num_shards // len(samples) != shard:
          continue
        for end, content in sample.items():
          member = tarfile.TarInfo(f"s{row:07d}.{end}")
          member.size = len(content)
          tar.addfile(member, io.BytesIO(content))


def classification(
  folder: pathlib.Path, labels: Sequence[int], split: str = "test"
) -> None:
  """Write a split of a set of six classes."""
  write(
    folder,
    [
      {"png": image, "cls": str(label).encode()}
      for image, label in zip(noise(len(labels)), labels, strict=True)
    ],
    {
      "classnames.txt": "ant\nbee\ncow\ndog\nelk\nfox\n",
      "zeroshot_classification_templates.txt": "a {c}\nthe {c}.\n",
    },
    split=split,
  )


def retrieval(folder: pathlib.Path, captions: Sequence[Sequence[str]]) -> None:
  """Write a set of images with several captions."""
  write(
    folder,
    [
      {"png": image, "txt": "\n".join(some).encode()}
      for image, some in zip(noise(len(captions)), captions, strict=True)
    ],
    {"dataset_type.txt": "retrieval"},
  )


def pixels(data: bytes) -> np.ndarray:
  """Return a decoded image: uint8 [Y, X, 3]."""
  return np.asarray(Image.open(io.BytesIO(data)))
