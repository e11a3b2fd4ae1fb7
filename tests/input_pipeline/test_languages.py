"""Codes of languages: spellings that are the same, and others."""

import pytest

from input_pipeline import languages


@pytest.mark.parametrize(
  ("code", "same"),
  [
    *((code, "zh") for code in ("zh", "zh_CN", "zh-cn", "ZH-CN", "zh-Hans")),
    *((code, "zh") for code in ("zh_hans_cn", "ZH", " zh-CN ", "cmn", "zho")),
    *((code, "zh-TW") for code in ("zh_TW", "zh-Hant", "zh-hant-tw")),
    *((code, "en") for code in ("en", "EN", "en_US", "en-Latn", "eng")),
    *((code, code) for code in ("en-GB", "pt-PT", "zh-HK", "sr-Latn", "yue")),
    *(("pt_BR", "pt"), ("iw", "he"), ("ger", "de"), ("und", "und")),
    *(("English", "english"), ("", ""), ("a b", "a b"), ("C", "c")),
    *(("de_CH-1901", "de-CH-1901"), ("qaa", "qaa"), ("xyz-GB", "xyz-GB")),
  ],
)
def test_codes_of_one_language_are_one(code, same):
  assert languages.normalised(code) == same
  assert languages.normalised(same) == same


def test_texts_in_a_language_are_those_of_all_its_spellings():
  texts = {"zh_CN": ("一",), "en": ("one",), "zh-Hans": ("二", "三")}
  assert languages.texts_in(texts, "ZH") == ("一", "二", "三")
  assert languages.texts_in(texts, "zh-TW") == ()
