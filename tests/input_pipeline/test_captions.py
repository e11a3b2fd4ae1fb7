import collections

import numpy as np
import pytest

from input_pipeline import captions, faults

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


def test_short_texts_are_left_out():
  texts = {"en": ("red fox", "a fox in the snow"), "de": ("ein Fuchs",)}
  long = captions.without_short(texts, ("en",), 2)
  assert long == {"en": ("a fox in the snow",), "de": ()}
  with pytest.raises(captions.LeftOut):
    captions.without_short(texts, ("de",), 2)


@pytest.mark.parametrize("texts", [{"fr": ("un renard",)}, {"en": (" ",)}])
def test_an_example_without_a_text_is_no_filters_matter(texts):
  """It is a fault, which the draw finds."""
  assert captions.without_short(texts, ("en",), 2) == texts


def _choose(texts, seed=0, **options):
  options = {"max_chars": 9} | options
  rng = np.random.default_rng(seed)
  return captions.choose(texts, ("en", "de"), rng, **options)


def test_spellings_of_a_language_are_one():
  texts = {"zh_CN": ("\u4e00",), "zh-Hans": ("\u4e8c",), "zh-TW": ("\u4e09",)}
  rng = np.random.default_rng(0)
  drawn = {captions.draw(texts, ("ZH",), rng, max_chars=9) for _ in range(20)}
  assert drawn == {("ZH", "\u4e00"), ("ZH", "\u4e8c")}


def test_an_example_needs_one_caption_that_is_short_enough():
  captions.check({"en": ("\u200b", "a" * 99), "de": ("b",)}, 9)
  for texts, kind in (
    ({"en": ("a" * 10,), "de": (" ",)}, "caption_too_long"),
    ({"en": ("\u200b",), "de": ()}, "caption_missing"),
  ):
    with pytest.raises(faults.ExampleError) as raised:
      captions.check(texts, 9)
    assert raised.value.kind == kind


@pytest.mark.parametrize(
  ("texts", "kind"),
  [
    ({}, "caption_missing"),
    ({"fr": ("chien",)}, "caption_missing"),
    ({"en": (), "de": ("", " \n\u3000")}, "caption_missing"),
    (
      {"en": ("\u200b", "\ufeff\u2060"), "de": ("\u00ad \u200e",)},
      "caption_missing",
    ),
    ({"en": ("0123456789",), "de": ("",)}, "caption_too_long"),
  ],
)
def test_what_is_no_caption(texts, kind):
  with pytest.raises(faults.ExampleError) as raised:
    _choose(texts)
  assert raised.value.kind == kind
  assert kind != "caption_too_long" or "10 characters" in str(raised.value)
  # Beside one that is a caption, it is just never drawn.
  whole = texts | {"en": (*texts.get("en", ()), "dog")}
  assert {_choose(whole, seed) for seed in range(30)} == {"dog"}


def test_templates_are_drawn_last():
  """So a source without them has the captions that it had."""
  texts = {"en": ("dog", "cat"), "de": ("Hund", "Katze", "Tier")}
  templates = ("a {}.", "my {}", "the {}")
  drawn = set()
  for seed in range(60):
    plain = _choose(texts, seed)
    # Their characters are not the caption's.
    text = _choose(texts, seed, templates=templates, max_chars=5)
    assert plain in text
    drawn.add((plain, text))
  # 15 outcomes: one of them never in 60 draws has a chance of a few percent,
  # half of them hardly any.
  assert len(drawn) > 10


def test_a_label_stands_for_a_text():
  texts = [f"caption {i}" for i in range(1000)]
  labels = [captions.label(text) for text in texts]
  assert len(set(labels)) == 1000
  assert all(type(label) is np.int32 for label in labels)
  # By zlib's checksum of the UTF-8 bytes, so that every process agrees.
  assert captions.label("caf\u00e9") == captions.label("café")
  assert captions.label("123456789") == np.uint32(0xCBF43926).view(np.int32)


def test_a_caption_by_its_number():
  texts = {"en": ("dog", "cat"), "de": ("Hund",)}
  assert captions.numbered(texts) == [
    ("de", "Hund"),
    ("en", "dog"),
    ("en", "cat"),
  ]
  assert captions.only(texts, 2) == {"en": ("cat",)}
  with pytest.raises(faults.ExampleError, match="caption 3 was drawn"):
    captions.only(texts, 3)
