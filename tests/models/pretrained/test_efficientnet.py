"""EfficientNet and ALIGN as transformers computed them."""

import pytest

from models.pretrained import hf_align, hf_efficientnet
from tests.models.pretrained import goldens

pytestmark = pytest.mark.usefixtures("unoptimised")


@pytest.mark.parametrize(
  ("family", "name"),
  [
    (hf_efficientnet, "hf_efficientnet"),
    (hf_efficientnet, "hf_efficientnet_labels"),
    (hf_align, "hf_align"),
  ],
)
def test_equals_transformers(family, name):
  goldens.check(family, goldens.FOLDER / f"{name}.npz")
