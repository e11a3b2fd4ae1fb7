"""Choice of an example's caption among its texts, and labels of captions."""

import unicodedata
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline import faults
from input_pipeline import languages as languages_lib

# Provenance of a text that a prompt wraps, as grammars have their names.
AUGMENTED = "augmented"
# Unicode's categories of letters that show nothing.
BLANK = ("Cc", "Cf", "Zl", "Zp", "Zs")


class LeftOut(Exception):
  """Example whose texts are all left out by data.leave_out; no fault."""


def choose(
  texts: Mapping[str, Sequence[str]],
  languages: Sequence[str],
  rng: np.random.Generator,
  *,
  max_chars: int,
  templates: Sequence[str] = (),
) -> str:
  """Return the text that `draw` draws, without its language."""
  chosen = draw(texts, languages, rng, max_chars=max_chars, templates=templates)
  return chosen[1]


def draw(
  texts: Mapping[str, Sequence[str]],
  languages: Sequence[str],
  rng: np.random.Generator,
  *,
  max_chars: int,
  templates: Sequence[str] = (),
) -> tuple[str, str]:
  """Return one of `languages`, drawn uniformly, and a text in it.

  One of several texts in that language is drawn, and one of the templates to
  fill with it. Texts that are empty or longer than `max_chars` are left out,
  and so are languages without a text. Raises faults.ExampleError when none is
  left.
  """
  filled = {
    language: [
      text
      for text in languages_lib.texts_in(texts, language)
      if not is_blank(text)
    ]
    for language in languages
  }
  usable = {
    language: [text for text in candidates if len(text) <= max_chars]
    for language, candidates in filled.items()
  }
  present = [language for language in languages if usable[language]]
  if not present:
    raise _fault(texts, filled, max_chars)
  language = present[int(rng.integers(len(present)))]
  candidates = usable[language]
  text = candidates[int(rng.integers(len(candidates)))]
  if templates:
    text = templates[int(rng.integers(len(templates)))].replace("{}", text)
  return language, text


def is_short(text: str, num_words: int) -> bool:
  """Return whether a text has at most `num_words` words between blanks."""
  return len(text.split()) <= num_words


def wrapped(
  text: str, templates: Sequence[str], rng: np.random.Generator
) -> str:
  """Return the text in one of the templates, drawn uniformly."""
  return templates[int(rng.integers(len(templates)))].replace("{}", text)


def without_short(
  texts: Mapping[str, Sequence[str]], languages: Sequence[str], num_words: int
) -> Mapping[str, Sequence[str]]:
  """Return the texts that no prompt would wrap.

  An example without any text in these languages is returned as it is.

  Args:
    texts: texts of an example, by language.
    languages: data.languages.
    num_words: most words of a short text.

  Raises:
    LeftOut: none is left in any of the languages.
  """
  long = {
    language: tuple(x for x in some if not is_short(x, num_words))
    for language, some in texts.items()
  }
  for language in languages:
    if languages_lib.texts_in(long, language):
      return long
  for language in languages:
    if not all(map(is_blank, languages_lib.texts_in(texts, language))):
      raise LeftOut
  return texts


def is_blank(text: str) -> bool:
  """Return whether a text has nothing to read: no caption.

  Blank letters are whitespace, control characters and what Unicode calls
  format (category Cf), as zero-width spaces, soft hyphens and marks of order.
  """
  return all(unicodedata.category(letter) in BLANK for letter in text)


def numbered(texts: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
  """Return (language, text) of all texts, in the order that curation counts."""
  return [
    (language, text) for language in sorted(texts) for text in texts[language]
  ]


def only(
  texts: Mapping[str, Sequence[str]], number: int
) -> dict[str, tuple[str, ...]]:
  """Return the text of this number in `numbered`, by its language.

  Raises faults.ExampleError if the example has fewer texts.
  """
  captions = numbered(texts)
  if number >= len(captions):
    raise faults.ExampleError(
      "caption_missing",
      f"caption {number} was drawn; the example has {len(captions)}",
    )
  language, text = captions[number]
  return {language: (text,)}


def check(texts: Mapping[str, Sequence[str]], max_chars: int) -> None:
  """Raise faults.ExampleError for an example without a caption to train on."""
  filled = {
    language: [text for text in some if not is_blank(text)]
    for language, some in texts.items()
  }
  lengths = [len(text) for some in filled.values() for text in some]
  if not lengths:
    raise faults.ExampleError("caption_missing", "the example has no text")
  if min(lengths) > max_chars:
    raise _fault(texts, filled, max_chars)


def _fault(
  texts: Mapping[str, Sequence[str]],
  filled: Mapping[str, Sequence[str]],
  max_chars: int,
) -> faults.ExampleError:
  lengths = [len(text) for present in filled.values() for text in present]
  if lengths:
    return faults.ExampleError(
      "caption_too_long",
      f"the shortest caption has {min(lengths)} characters; "
      f"data.max_caption_chars={max_chars}",
    )
  return faults.ExampleError(
    "caption_missing",
    f"no text in any of data.languages={tuple(filled)}; the example has "
    f"{tuple(language for language in texts if any(texts[language]))}",
  )


def class_of(text: str, classes: Sequence[str]) -> np.int32:
  """Return the number of the class that a caption names.

  Raises:
    faults.ExampleError: "caption_broken" for a caption that is no class.
  """
  try:
    return np.int32(classes.index(text.strip()))
  except ValueError:
    raise faults.ExampleError(
      "caption_broken",
      f"the caption must be one of the {len(classes)} classes of"
      f" model.head.classes, such as {classes[0]!r}; got {text[:60]!r}",
    ) from None


def label(text: str) -> np.int32:
  """Return a hash of this text, the same in every process.

  Two texts share a number with probability 2**-32: in a batch of 24,576 one
  false pair of 300 million is expected every 14 batches.
  """
  return np.uint32(zlib.crc32(text.encode())).view(np.int32)
