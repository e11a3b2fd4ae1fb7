"""Codes of languages, compared as BCP 47 understands them."""

import functools
from collections.abc import Mapping, Sequence

import langcodes


@functools.lru_cache(maxsize=4096)
def normalised(code: str) -> str:
  """Return the one spelling of all codes that mean the same language.

  zh_CN, zh-cn, ZH-CN, zh-Hans and cmn are all "zh"; zh_TW and zh-Hant are
  "zh-TW". Codes of ISO 639-1, 639-2, 639-3 and BCP 47 are read in any case,
  with "_" or "-". Script and region are added where they are missing, as
  Unicode's likely subtags have them (CLDR; a bare zh is zh-Hans-CN), and left
  out again where they are the likely ones, so that equal languages are equal
  strings: en-US is "en", pt-BR is "pt", while en-GB and pt-PT stay what they
  are and are other languages than en and pt. Text that is no code of BCP 47
  ("English", "") is returned in lower case, without spaces around it.
  """
  text = code.strip().replace("_", "-")
  try:
    tag = langcodes.Language.get(
      langcodes.standardize_tag(text, macro=True), normalize=False
    )
    if tag.language is None:
      return str(tag)
    full = tag.maximize()
    for region, script in (
      (None, None),
      (full.territory, None),
      (None, full.script),
    ):
      short = tag.update_dict({"territory": region, "script": script})
      if short.maximize() == full:
        return str(short)
    return str(full)
  except ValueError:
    return text.lower()


def texts_in(
  texts: Mapping[str, Sequence[str]], language: str
) -> tuple[str, ...]:
  """Return the texts in a language, whatever spelling its code has there."""
  wanted = normalised(language)
  return tuple(
    text for code in texts if normalised(code) == wanted for text in texts[code]
  )
