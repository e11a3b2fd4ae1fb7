"""Make the TFDS data set of test_tfds.py; needs TensorFlow, the tests do not.

In an environment of its own:

  pip install -r requirements-tfds.txt tensorflow-cpu
  python -m tests.input_pipeline.sources.golden.make_tfds
"""

import io
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

FOLDER = pathlib.Path(__file__).parent / "tfds"
LABELS = ("cat", "dog", "owl")


def example(index: int) -> dict[str, Any]:
  """Return an example; the fourth of each split has no caption."""
  pixels = np.full((8, 8, 3), 20 * index, np.uint8)
  pixels[:4, :, 0] = 250
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return {
    "image": file.getvalue(),
    "title": f"title {index}" if index % 4 != 3 else "",
    "language": "de" if index % 2 else "",
    "label": LABELS[index % len(LABELS)],
    "captions": [
      {"id": index, "text": f"text {index} {part}"} for part in range(index % 3)
    ],
    "uid": f"{index:032x}",
  }


def main() -> None:
  """Write the folder anew."""
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(
        shape=(None, None, 3), encoding_format="png"
      ),
      "title": tfds.features.Text(),
      "language": tfds.features.Text(),
      "label": tfds.features.ClassLabel(names=LABELS),
      "captions": tfds.features.Sequence(
        {"id": np.int64, "text": tfds.features.Text()}
      ),
      "uid": tfds.features.Text(),
    }
  )
  shutil.rmtree(FOLDER, ignore_errors=True)
  with tempfile.TemporaryDirectory() as folder:
    tfds.dataset_builders.store_as_tfds_dataset(
      name="tiny",
      version="1.0.0",
      features=features,
      # Images go in as files: their bytes are stored as they are.
      split_datasets={
        "train": [(index, _opened(example(index))) for index in range(6)],
        "test": [(index, _opened(example(index))) for index in (6, 7)],
      },
      data_dir=folder,
      file_format="array_record",
      disable_shuffling=True,
    )
    shutil.copytree(folder, FOLDER)


def _opened(fields: dict[str, Any]) -> dict[str, Any]:
  return fields | {"image": io.BytesIO(fields["image"])}


if __name__ == "__main__":
  main()
