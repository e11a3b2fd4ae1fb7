"""Perturbed captions and prompts: typos, case, hashtags, emoji, paraphrases.

Every kind is a pure function of text and seed; it draws by BLAKE2, so that no
release of a library changes a text. It works on user-perceived characters
(grapheme clusters of UAX #29): in any script a letter keeps its marks, and a
flag or a family of emoji stays whole. Where a kind has nothing to change, the
text comes back as it was; NOT_CHANGED says where, and `perturb_all` counts such
texts.

Rates, templates and lists are this project's choices: no benchmark of
image-text models prescribes them.
"""

import functools
import hashlib
import itertools
import re
import types
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import wcwidth

from runtime import checks

# Share of a text's letters with a typo, and at least one letter of each text.
RATE = 0.1
EDITS = ("swap", "drop", "duplicate", "keyboard")
EMOJI = ("😀", "😍", "😂", "👍", "🔥", "✨", "❤️", "🎉", "💯", "📷")
NUM_HASHTAGS = 2
ENDINGS = (".", "!", "...")
# Rows of QWERTY and of the Russian layout, and how far each is set in.
_LAYOUTS = (
  (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75)),
  (("йцукенгшщзхъ", 0.0), ("фывапролджэ", 0.25), ("ячсмитьбю", 0.75)),
)
# Each row says the same; {} is the object with its article, if it has one.
PARAPHRASES = (
  (
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a photograph of {}",
    "this is a photo of {}",
    "this picture shows {}",
    "a photo showing {}",
    "{} in a photo",
  ),
  (
    "a close-up photo of {}",
    "a close-up of {}",
    "a picture of {} from close up",
    "{} photographed from close up",
  ),
  (
    "a bad photo of {}",
    "a poor picture of {}",
    "a photo of {} of bad quality",
    "a low-quality image of {}",
  ),
  (
    "a blurry photo of {}",
    "a blurred picture of {}",
    "an image of {} that is out of focus",
  ),
  (
    "a drawing of {}",
    "{} in a drawing",
    "this is a drawing of {}",
    "a drawing that shows {}",
  ),
  (
    "a painting of {}",
    "{} in a painting",
    "this is a painting of {}",
    "a painting that shows {}",
  ),
)


def perturb(text: str, kind: str, *, seed: int = 0) -> str:
  """Return a text changed in one way, the same for the same text and seed.

  Args:
    text: caption or prompt. With "paraphrase" also a template with {}.
    kind: a key of KINDS.
    seed: of the whole evaluation.

  Raises:
    ValueError: there is no such kind.

  >>> perturb("a photo of a dog.", "upper")
  'A PHOTO OF A DOG.'
  """
  checks.one_of("the kind of a text's perturbation", kind, KINDS)
  return KINDS[kind](text, f"{seed}\n{kind}\n{text}")


def perturb_all(
  texts: Sequence[str], kind: str, *, seed: int = 0
) -> tuple[list[str], int]:
  """Return all texts changed, and how many of them came back as they were."""
  changed = [perturb(text, kind, seed=seed) for text in texts]
  pairs = zip(texts, changed, strict=True)
  return changed, sum(text == other for text, other in pairs)


def graphemes(text: str) -> list[str]:
  """Return the user-perceived characters of a text."""
  return list(wcwidth.iter_graphemes(text))


def typos(
  text: str, key: str, *, edits: Sequence[str] = EDITS, rate: float = RATE
) -> str:
  """Change letters: swap two, drop one, double one, hit a key beside one.

  Letters to change are drawn without replacement, as many as `rate` of all,
  and at least one; each gets one of the edits that it allows. Words stay: the
  last letter of a word is not dropped, letters of two words are not swapped.

  Args:
    text: any text.
    key: text and seed, which the draws depend on.
    edits: names in EDITS.
    rate: share of the letters.
  """
  letters = graphemes(text)
  cells: list[tuple[str, ...]] = [(letter,) for letter in letters]
  positions = [i for i, letter in enumerate(letters) if _is_letter(letter)]
  wanted = max(1, round(rate * len(positions)))
  changed: set[int] = set()
  for i in _shuffled(positions, key):
    if wanted == 0:
      break
    if i in changed:
      continue
    for edit in _shuffled(edits, f"{key}\n{i}"):
      new = _edited(cells, i, edit, changed, f"{key}\n{i}\n{edit}")
      # Neighbours that would join into one character are left as they are.
      if new and _is_whole(new := cells[:i] + new + cells[i + len(new) :]):
        changed |= {j for j in (i, i + 1) if new[j : j + 1] != cells[j : j + 1]}
        cells = new
        wanted -= 1
        break
  return "".join(itertools.chain.from_iterable(cells))


def _edited(
  cells: list[tuple[str, ...]],
  i: int,
  edit: str,
  changed: set[int],
  key: str,
) -> list[tuple[str, ...]]:
  """Return the cells from i on after an edit, [] where it is not possible."""
  (letter,) = cells[i]

  def is_free(j: int) -> bool:
    is_inside = 0 <= j < len(cells) and j not in changed
    return is_inside and _is_letter(cells[j][0])

  if edit == "swap" and is_free(i + 1) and cells[i + 1] != cells[i]:
    return [cells[i + 1], cells[i]]
  if edit == "drop" and (is_free(i - 1) or is_free(i + 1)):
    return [()]
  if edit == "duplicate":
    return [(letter, letter)]
  if edit == "keyboard" and (keys := _neighbours().get(letter.lower())):
    key_hit = keys[_draw(key, len(keys))]
    return [(key_hit if letter.islower() else key_hit.upper(),)]
  return []


def _is_letter(grapheme: str) -> bool:
  """Return whether a character is a letter or a digit, with its marks."""
  return unicodedata.category(grapheme[0])[0] in "LN"


def _is_whole(cells: list[tuple[str, ...]]) -> bool:
  """Return whether the cells' characters are still apart once joined."""
  letters = list(itertools.chain.from_iterable(cells))
  return graphemes("".join(letters)) == letters


@functools.cache
def _neighbours() -> Mapping[str, str]:
  """Return the keys that touch each key."""
  neighbours = {}
  for layout in _LAYOUTS:
    positions = {
      key: (row, column + inset)
      for row, (keys, inset) in enumerate(layout)
      for column, key in enumerate(keys)
    }
    for key, (row, column) in positions.items():
      neighbours[key] = "".join(
        other
        for other, (y, x) in positions.items()
        if other != key and abs(y - row) <= 1 and abs(x - column) <= 1
      )
  return neighbours


def title(text: str, key: str) -> str:
  """Return the text with the first letter of each word in title case."""
  del key
  words = re.split(r"(\s+)", text)
  return "".join(word[:1].title() + word[1:] for word in words)


def hashtags(text: str, key: str) -> str:
  """Append two of the text's own words as hashtags, in their order.

  A run of letters is a word: in scripts without spaces it may be a sentence.
  """
  runs = itertools.groupby(graphemes(text), _is_letter)
  words = ["".join(run) for is_word, run in runs if is_word]
  words = list(dict.fromkeys(words))
  # Longer words are names of things more often than "of" and "the" are.
  drawn = sorted(_shuffled(words, key), key=lambda word: -len(word))
  drawn = drawn[:NUM_HASHTAGS]
  tags = [f"#{word}" for word in words if word in drawn]
  return " ".join([text, *tags])


def emoji(text: str, key: str) -> str:
  """Append an emoji."""
  return f"{text} {EMOJI[_draw(key, len(EMOJI))]}" if text else text


def whitespace(text: str, key: str) -> str:
  """Widen the gaps between words, and add spaces around the text."""
  if not text.strip():
    return text
  gaps = ("  ", "   ", "\t", " \n")
  parts = re.split(r"\s+", text.strip())
  joined = parts[0] + "".join(
    gaps[_draw(f"{key}\n{i}", len(gaps))] + part
    for i, part in enumerate(parts[1:])
  )
  return f" {joined} "


def punctuation(text: str, key: str) -> str:
  """Remove the punctuation at a text's end; if it has none, add it."""
  bare = text
  while bare and unicodedata.category(bare[-1]) == "Po":
    bare = bare[:-1]
  if not bare.strip():
    return text
  return bare if bare != text else text + ENDINGS[_draw(key, len(ENDINGS))]


def paraphrase(text: str, key: str) -> str:
  """Say an English prompt in other words, by PARAPHRASES.

  A capital at the start and a full stop at the end stay as they are.
  """
  bare = text.removesuffix(".")
  match_by_form = {
    form: match
    for forms in PARAPHRASES
    for form in forms
    if (match := re.fullmatch(_pattern(form), bare, re.IGNORECASE | re.DOTALL))
  }
  if not match_by_form:
    return text
  # The form with the most words of its own: "a photo of {} of bad quality".
  form = max(match_by_form, key=len)
  (forms,) = (forms for forms in PARAPHRASES if form in forms)
  others = [other for other in forms if other != form]
  name = match_by_form[form][1]
  if re.match("(A|An|The) ", name):  # its capital was the sentence's
    name = name[:1].lower() + name[1:]
  new = others[_draw(key, len(others))].replace("{}", name)
  if text[:1].isupper():
    new = new[:1].upper() + new[1:]
  return new + text[len(bare) :]


def _pattern(form: str) -> str:
  """Return the expression of a prompt, its object as group 1."""
  return re.escape(form).replace(re.escape("{}"), "(.+)")


def _draw(key: str, count: int) -> int:
  """Return a number below `count` that depends on the key only."""
  digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8)
  return int.from_bytes(digest.digest(), "big") % count


def _shuffled(items: Sequence, key: str) -> list:
  """Return the items in an order that depends on the key only."""
  order = {i: _draw(f"{key}\norder {i}", 2**64) for i in range(len(items))}
  return [items[i] for i in sorted(order, key=order.__getitem__)]


# Name -> function of text and key.
KINDS: Mapping[str, Callable[[str, str], str]] = types.MappingProxyType(
  {
    "typos": typos,
    **{
      f"typos_{edit}": functools.partial(typos, edits=(edit,)) for edit in EDITS
    },
    "lower": lambda text, key: text.lower(),
    "upper": lambda text, key: text.upper(),
    "title": title,
    "hashtags": hashtags,
    "emoji": emoji,
    "whitespace": whitespace,
    "punctuation": punctuation,
    "paraphrase": paraphrase,
  }
)
# Name -> texts that it returns as they are, beside the empty one.
NOT_CHANGED: Mapping[str, str] = types.MappingProxyType(
  {
    "typos": "texts without a letter or digit",
    "typos_swap": "texts whose words have one letter, or equal ones",
    "typos_drop": "texts whose words have one letter",
    "typos_duplicate": "texts without a letter or digit",
    "typos_keyboard": "texts without a letter of QWERTY or of ЙЦУКЕН",
    "lower": "scripts without case, and texts in lower case",
    "upper": "scripts without case, and texts in upper case",
    "title": "scripts without case, and texts in title case",
    "hashtags": "texts without a letter or digit",
    "emoji": "none",
    "whitespace": "none but white space",
    "punctuation": "texts of nothing but punctuation",
    "paraphrase": "texts that are no prompt of PARAPHRASES, which are English",
  }
)
