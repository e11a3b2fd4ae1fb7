"""Tiny sets on disk, in the layouts of their origins."""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from tests.input_pipeline.sources import tars

CLASSES = ("cat", "dog", "owl")
TEMPLATES = ("a photo of a {c}.", "a drawing of a {c}.")


def image(number: int, format: str = "PNG") -> bytes:
  """Return a small picture of its own."""
  file = io.BytesIO()
  pixels = np.full((4, 5, 3), number % 256, np.uint8)
  Image.fromarray(pixels).save(file, format)
  return file.getvalue()


def images(folder: pathlib.Path, *names: str) -> None:
  """Write pictures, numbered in order."""
  for number, name in enumerate(names):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(number, "PNG" if path.suffix == ".png" else "JPEG"))


def npy(values: Sequence[object]) -> bytes:
  """Return an array in a .npy file."""
  file = io.BytesIO()
  np.save(file, np.asarray(values))
  return file.getvalue()


def wds(
  root: pathlib.Path,
  samples: Sequence[Mapping[str, bytes]],
  *,
  num_tars: int = 2,
  classes: Sequence[str] = CLASSES,
  templates: Sequence[str] = TEMPLATES,
  kind: str = "",
) -> pathlib.Path:
  """Write a `wds_*` folder, as clip_benchmark/webdataset_builder.py does.

  Args:
    root: the folder.
    samples: members of each sample, without its image.
    num_tars: number of tars.
    classes: lines of classnames.txt; () for no file, as below.
    templates: lines of zeroshot_classification_templates.txt.
    kind: content of dataset_type.txt.
  """
  (root / "test").mkdir(parents=True)
  for name, lines in (
    ("classnames.txt", classes),
    ("zeroshot_classification_templates.txt", templates),
    ("dataset_type.txt", [kind] if kind else ()),
  ):
    if lines:
      (root / name).write_text("".join(f"{x}\n" for x in lines), "utf-8")
  size = -(-len(samples) // num_tars)
  for tar in range(num_tars):
    members = {}
    for number in range(tar * size, min((tar + 1) * size, len(samples))):
      key = f"s{number:07d}"
      members[f"{key}.png"] = image(number)
      members |= {f"{key}.{x}": y for x, y in samples[number].items()}
    tars.write(root / "test" / f"{tar}.tar", members)
  (root / "test" / "nshards.txt").write_text(f"{num_tars}\n")
  return root


def labelled(
  root: pathlib.Path, labels: Sequence[int], **options
) -> pathlib.Path:
  """Write a `wds_*` folder with these labels."""
  return wds(root, [{"cls": b"%d" % label} for label in labels], **options)
