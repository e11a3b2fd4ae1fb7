"""SigLIP, SigLIP 2, NaFlex, BERT and ViT as transformers computes them."""

import pytest

from models.pretrained.families import hf_bert, hf_siglip, hf_siglip2, hf_vit
from tests.models.pretrained import goldens


@pytest.mark.parametrize(
  ("name", "family"),
  [
    ("hf_siglip", hf_siglip),
    ("hf_siglip_wide", hf_siglip),
    ("hf_siglip2", hf_siglip2),
    ("hf_bert", hf_bert),
    ("hf_vit", hf_vit),
  ],
)
def test_equals_transformers(name, family):
  goldens.check(family, goldens.FOLDER / f"{name}.npz")
