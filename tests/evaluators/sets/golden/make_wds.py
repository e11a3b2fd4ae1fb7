"""Write wds.zip: three sets by CLIP_benchmark's own code, and what it reads.

It needs clip-benchmark 1.6.2, webdataset and torch, from --no-deps installs:

  PYTHONPATH=SITE python tests/evaluators/sets/golden/make_wds.py

Modules that its data sets import, and these three do not use, are left out.
"""

import hashlib
import json
import pathlib
import sys
import tempfile
import zipfile
from unittest import mock

import numpy as np
from PIL import Image

_UNUSED = (
  *("torchvision", "torchvision.datasets", "torchvision.transforms"),
  *("torchvision.datasets.vision", "torchvision.datasets.utils", "requests"),
)
NUMBER, IN_TAR = 7, 3


def main() -> None:
  """Write the archive beside this file."""
  for name in _UNUSED:
    sys.modules.setdefault(name, mock.MagicMock(__path__=[], __spec__=None))
  # Base classes cannot be mocks.
  for name in ("torchvision.datasets", "torchvision.datasets.vision"):
    sys.modules[name].VisionDataset = object
    sys.modules[name].ImageFolder = object
  import torch
  from clip_benchmark import webdataset_builder
  from clip_benchmark.datasets import builder

  class Rows(list):
    """A list is a data set with attributes."""

  random = np.random.default_rng(0)
  pixels = random.integers(0, 256, (NUMBER, 6, 5, 3), np.uint8)
  images = [Image.fromarray(x) for x in pixels]
  options = {
    "transform": webdataset_builder.PIL_to_bytes("webp"),
    "max_count": IN_TAR,
    "verbose": False,
  }
  labelled = Rows((x, i % 3) for i, x in enumerate(images))
  labelled.classes = ["cat", "great_owl", "Dog"]
  labelled.templates = ["a photo of a {c}.", "{c}"]
  targets = torch.tensor(random.integers(0, 2, (NUMBER, 3)))
  several = Rows(zip(images, targets, strict=True))
  several.classes, several.templates = labelled.classes, labelled.templates
  captions = [[f"picture {i}", "two\nlines", "Kätzchen"] for i in range(NUMBER)]
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    webdataset_builder.convert_dataset(
      labelled, "test", str(root / "labelled"), **options
    )
    webdataset_builder.convert_dataset(
      *(several, "test", str(root / "multilabel")), multilabel=True, **options
    )
    webdataset_builder.convert_retrieval_dataset(
      list(zip(images, captions, strict=True)),
      *("test", str(root / "retrieval")),
      **options,
    )
    read = {path.name: _read(builder, path) for path in sorted(root.iterdir())}
    (root / "read.json").write_text(json.dumps(read))
    target = pathlib.Path(__file__).with_name("wds.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
      for path in sorted(root.rglob("*")):
        if path.is_file():
          archive.write(path, path.relative_to(root))


def _read(builder, path: pathlib.Path) -> dict:
  """Return images, labels or captions, classes and templates of a folder."""

  def digest(image):
    return hashlib.sha256(
      np.asarray(image.convert("RGB")).tobytes()
    ).hexdigest()

  dataset = builder.build_wds_dataset(path.name, digest, data_dir=str(path))
  rows = [
    (image, value.tolist() if hasattr(value, "tolist") else value)
    for image, value in dataset
  ]
  return {
    "rows": rows,
    "classes": dataset.classes,
    "templates": dataset.templates,
  }


if __name__ == "__main__":
  main()
