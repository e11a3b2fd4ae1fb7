"""ClipBERT's transformer equals transformers' BERT, live: 2e-5."""

import numpy as np

from tests.models.fusion import test_golden
from tests.parity.makers import golden_clipbert


def test_equals_transformers():
  test_golden.compare(golden_clipbert.make())


def test_the_golden_file_is_what_its_maker_makes():
  made = golden_clipbert.make()
  with np.load(test_golden.PATH) as file:
    assert set(file) == set(made)
    for name in ("words", "matching"):
      # Other versions of PyTorch may sum in another order.
      np.testing.assert_allclose(file[name], made[name], rtol=0, atol=1e-5)
