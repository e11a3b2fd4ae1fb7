"""Pixel statistics that a preprocessor_config.json amounts to."""

import numpy as np
import pytest

from models.pretrained import pixels


@pytest.mark.parametrize(
  ("processor", "first", "last"),
  [
    # The published EfficientNets' (mean 0.485, deviation 0.229) and ALIGN's.
    (
      {
        "image_processor_type": "EfficientNetImageProcessor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.47853944, 0.4732864, 0.47434163],
      },
      (0.485, 0.229),
      (0.406, 0.225),
    ),
    (
      {
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "do_normalize": False,
        "include_top": False,
      },
      (0.5, 0.5),
      (0.5, 0.5),
    ),
  ],
)
def test_a_processor_is_one_mean_and_deviation(processor, first, last):
  mean, std = pixels.statistics(processor)
  np.testing.assert_allclose((mean[0], std[0]), first, rtol=1e-6)
  np.testing.assert_allclose((mean[2], std[2]), last, rtol=1e-6)


def test_plain_statistics_keep_their_digits():
  mean, std = pixels.statistics(
    {"image_mean": [0.1, 0.2, 0.3], "rescale_factor": 1 / 255},
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.4, 0.5, 0.6),
  )
  assert (mean, std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_one_number_stands_for_three():
  assert pixels.triple(0.5) == (0.5, 0.5, 0.5)
