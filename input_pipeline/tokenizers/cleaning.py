"""Cleaning of texts by published tokenizers, before the split into words."""

import html
import string
from collections.abc import Callable

import ftfy

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOWER_ASCII = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _clip(text: str) -> str:
  """Clean as CLIP: repaired, HTML entities decoded, spaces collapsed, lower."""
  return _repair(text).lower()


def _repair(text: str) -> str:
  # Unescaped twice: captions from the web contain entities of entities, such as
  # "&amp;lt;".
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return _collapse(text)


def _repair_and_canonicalise(text: str) -> str:
  """Clean as open_clip's SigLIP: repaired, no punctuation, lower case."""
  text = _repair(text).replace("_", " ").translate(_NO_PUNCTUATION)
  return _collapse(text.lower())


def _siglip(text: str) -> str:
  """Clean as transformers' SigLIP: lower case, no punctuation."""
  return _siglip_cased(text.lower())


def _siglip_cased(text: str) -> str:
  # SentencePiece writes a space as U+2581.
  text = text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
  return _collapse(text.translate(_NO_PUNCTUATION))


def _lower_chars(text: str) -> str:
  # As in the `tokenizers` package, each letter by itself: str.lower() maps a
  # Greek sigma at the end of a word to another letter.
  return "".join(char.lower() for char in text)


def _collapse(text: str) -> str:
  return " ".join(text.split())


CLEANINGS: dict[str, Callable[[str], str]] = {
  "none": lambda text: text,
  "lower": _lower_chars,
  "lower_ascii": lambda text: text.translate(_LOWER_ASCII),
  "clip": _clip,
  "open_clip_whitespace": _repair,
  "open_clip_lower": _clip,
  "open_clip_canonicalize": _repair_and_canonicalise,
  "siglip": _siglip,
  "siglip_cased": _siglip_cased,
}
