"""Image protocols beside transformers' processors on Pillow."""

import numpy as np
import pytest

from input_pipeline.images import image_protocols
from tests.input_pipeline.images import test_image_protocols
from tests.input_pipeline.images.golden import make_images

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("default")

IMAGES = [
  *make_images.images(),
  *(
    np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    for seed, shape in enumerate([(375, 500), (641, 427), (225, 301)])
  ),
]


def _assert_equal(protocol, processor):
  """Compare after normalisation, so that mean and std count too."""
  for image in IMAGES:
    ours = protocol.apply(image) / 255 - np.array(protocol.mean)
    ours = np.moveaxis(ours / np.array(protocol.std), 2, 0)
    theirs = processor(image)["pixel_values"][0]
    # Float32 there. One grey level would be 0.008 or more.
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(
  ("kind", "options"),
  [
    ("CLIP", {}),
    ("CLIP", {"size": {"shortest_edge": 378}, "crop_size": 336}),
    ("Siglip", {}),
    ("Siglip", {"size": {"height": 384, "width": 384}, "resample": 2}),
    ("ViT", {}),
    ("EfficientNet", test_image_protocols.ALIGN_HF),
    ("EfficientNet", {"include_top": True}),
    ("EfficientNet", {"include_top": False, "do_center_crop": True}),
  ],
)
def test_from_transformers(kind, options):
  options = {k: v for k, v in options.items() if k != "image_processor_type"}
  processor = getattr(transformers, f"{kind}ImageProcessorPil")(**options)
  protocol = image_protocols.from_hf(processor.to_dict())
  _assert_equal(protocol, processor)


@pytest.mark.parametrize("name", ["clip", "clip_squash", "siglip", "align"])
def test_to_transformers(name):
  config = image_protocols.to_hf(image_protocols.PROTOCOLS[name])
  kind = config["image_processor_type"]
  processor = getattr(transformers, f"{kind}Pil").from_dict(config)
  _assert_equal(image_protocols.from_hf(config), processor)
