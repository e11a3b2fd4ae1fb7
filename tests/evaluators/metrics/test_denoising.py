"""Figures of images freed of noise, beside those of the noisy images."""

import numpy as np
import pytest

from evaluators import summary
from evaluators.metrics import denoising
from tests.evaluators import test_results_schema


def test_figures_are_means_over_images():
  rebuilt, noisy = np.array([1e-3, 1e-2, 0.0]), np.array([1e-2, 1e-2, 1e-2])
  record = denoising.record(rebuilt, noisy)
  # An image without any error counts as 100 dB.
  assert record["psnr"] == pytest.approx((30 + 20 + 100) / 3)
  assert record["chance"] == {"psnr": pytest.approx(20), "gain": 0.0}
  assert record["gain"] == pytest.approx(record["psnr"] - 20)
  low, high = record["intervals"]["gain"]
  assert low <= record["gain"] <= high
  results = {"holdout": record | {"protocol": {}}}
  test_results_schema.validate(results)
  assert "50.000 (20.000)" in summary.table(results)


def test_gain_of_float32_errors_is_the_difference_of_the_means():
  rng = np.random.default_rng(0)
  rebuilt_N, noisy_N = rng.uniform(0.005, 0.02, (2, 100)).astype(np.float32)
  record = denoising.record(rebuilt_N, noisy_N)
  difference = record["psnr"] - record["chance"]["psnr"]
  assert record["gain"] == pytest.approx(difference, rel=1e-9)
