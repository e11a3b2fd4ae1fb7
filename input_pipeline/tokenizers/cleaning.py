"""What published tokenizers do to a text before they look at words."""

import html
import string
from collections.abc import Callable

import ftfy

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOWER_ASCII = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _clip(text: str) -> str:
  """Follow CLIP: repaired, HTML entities read, spaces collapsed, lower."""
  return _repair(text).lower()


def _repair(text: str) -> str:
  # Twice, since captions from the web hold entities of entities: "&amp;lt;".
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return _collapse(text)


def _repair_and_canonicalise(text: str) -> str:
  """Follow open_clip's SigLIP: repaired, no punctuation, lower case."""
  text = _repair(text).replace("_", " ").translate(_NO_PUNCTUATION)
  return _collapse(text.lower())


def _siglip(text: str) -> str:
  """Follow transformers' SigLIP: lower case, no punctuation."""
  return _siglip_cased(text.lower())


def _siglip_cased(text: str) -> str:
  # U+2581 is how SentencePiece writes a space.
  text = text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
  return _collapse(text.translate(_NO_PUNCTUATION))


def _lower_chars(text: str) -> str:
  # As the `tokenizers` package does: each letter by itself. Python's own gives
  # a Greek sigma at the end of a word another letter.
  return "".join(char.lower() for char in text)


def _lower_ascii(text: str) -> str:
  return text.translate(_LOWER_ASCII)


def _collapse(text: str) -> str:
  return " ".join(text.split())


def _none(text: str) -> str:
  return text


CLEANINGS: dict[str, Callable[[str], str]] = {
  "none": _none,
  "lower": _lower_chars,
  "lower_ascii": _lower_ascii,
  "clip": _clip,
  "open_clip_whitespace": _repair,
  "open_clip_lower": _clip,
  "open_clip_canonicalize": _repair_and_canonicalise,
  "siglip": _siglip,
  "siglip_cased": _siglip_cased,
}
