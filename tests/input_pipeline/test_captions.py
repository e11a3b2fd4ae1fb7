import collections

import numpy as np
import pytest

from input_pipeline import captions

TEXTS = {
  "en": ("dog",),
  "de": ("Hund",),
  "fr": ("chien",),
  "it": ("cane",),
}


def test_languages_are_equally_likely():
  rng = np.random.default_rng(0)
  counts = collections.Counter(
    captions.choose(TEXTS, ("de", "fr", "it"), rng, max_chars=100)
    for _ in range(3000)
  )
  assert set(counts) == {"Hund", "chien", "cane"}
  # Five standard deviations of a binomial count: 129.
  assert all(abs(count - 1000) < 129 for count in counts.values())


def test_missing_language_is_left_out():
  rng = np.random.default_rng(0)
  got = {
    captions.choose(TEXTS, ("zh", "en"), rng, max_chars=100) for _ in range(20)
  }
  assert got == {"dog"}


def test_no_language():
  with pytest.raises(ValueError, match=r"data.languages=\('zh',\).*'de'"):
    captions.choose(TEXTS, ("zh",), np.random.default_rng(0), max_chars=9)


def test_a_label_stands_for_a_text():
  texts = [f"caption {i}" for i in range(1000)]
  labels = [captions.label(text) for text in texts]
  assert len(set(labels)) == 1000
  assert all(type(label) is np.int32 for label in labels)
  # By zlib's checksum of the UTF-8 bytes, so that every process agrees.
  assert captions.label("caf\u00e9") == captions.label("café")
  assert captions.label("123456789") == np.uint32(0xCBF43926).view(np.int32)
