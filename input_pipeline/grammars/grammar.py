"""Grammars of captions: texts with slots, options and alternatives.

A grammar makes captions of an example's fields, such as the names of a place or
a species, where its source has labels instead of sentences:

  A photo [close to {town} ]?0.4[in the region of {region} ]?0.6in {country:the}

| part | meaning |
|---|---|
| `{town}` | the field's value; an example without it cannot have this text |
| `{common/scientific}` | the first of these fields that the example has |
| `{}` | the example's own caption |
| `{country:the}` | "the " before a value listed in `articles` |
| `{name:a}` | "a " or "an " before the value, "an" before a, e, i, o, u |
| `{name:lower}`, `{name:capital}` | lower case; first letter upper case |
| `[ ... ]` | left out where a field in it is missing |
| `[ ... ]?0.4` | besides, present with this probability |
| `(red|green|blue)` | one of these, uniform over those whose fields are there |
| `<one. |two. >` | all of these, in random order |
| `\\[` | the character itself, of `{}[]()<>|?\\` |

Every random part has a number of its own, so that the draw of one does not
depend on which fields an example lacks.
"""

import dataclasses
import functools
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

# Most texts that `expand` lists.
MAX_EXPANDED = 10_000
# Name of the slot `{}`.
CAPTION = ""
_SPECIAL = "{}[]()<>|\\"
_CLOSING = {"[": "]", "(": ")", "<": ">"}
_SLOT = re.compile(r"\{([\w./-]*)(?::(\w+))?\}")
_PROBABILITY = re.compile(r"\?(\d*\.?\d+)")
_WORD = 2**64
# Parts in random order whose number of orders fits in a random word.
_MAX_SHUFFLED = 20
_FILTERS = ("the", "a", "lower", "capital")

Fields = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Literal:
  """Text that is always the same."""

  text: str

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    del fields, words
    return self.text

  def expand(self, fields: Fields) -> Iterator[tuple[str, float]]:
    del fields
    yield self.text, 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
  """Value of the first of `names` that an example has."""

  names: tuple[str, ...]
  change: Callable[[str], str] | None

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    del words
    for name in self.names:
      if value := fields.get(name):
        return value if self.change is None else self.change(value)
    return None

  def expand(self, fields: Fields) -> Iterator[tuple[str, float]]:
    value = self.draw(fields, ())
    if value is not None:
      yield value, 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
  """Parts one after the other; none where one of them cannot be made."""

  parts: tuple["Part", ...]

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    made = ""
    for part in self.parts:
      text = part.draw(fields, words)
      if text is None:
        return None
      made += text
    return made

  def expand(self, fields: Fields) -> Iterator[tuple[str, float]]:
    for texts in itertools.product(
      *(part.expand(fields) for part in self.parts)
    ):
      yield (
        "".join(text for text, _ in texts),
        math.prod(share for _, share in texts),
      )


@dataclasses.dataclass(frozen=True, slots=True)
class Optional:
  """Part that is present with a probability, if its fields are there."""

  part: Joined
  probability: float
  threshold: int  # words below it draw the part
  number: int

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    if words[self.number] >= self.threshold:
      return ""
    return self.part.draw(fields, words) or ""

  def expand(self, fields: Fields) -> Iterator[tuple[str, float]]:
    texts = list(self.part.expand(fields))
    left_out = 1 - self.probability if texts else 1.0
    for text, share in texts:
      if self.probability:
        yield text, share * self.probability
    if left_out:
      yield "", left_out


@dataclasses.dataclass(frozen=True, slots=True)
class OneOf:
  """One of several parts, uniform over those that can be made."""

  parts: tuple[Joined, ...]
  number: int

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    rest, first = divmod(words[self.number], len(self.parts))
    text = self.parts[first].draw(fields, words)
    if text is not None:
      return text
    texts = [part.draw(fields, words) for part in self.parts]
    made = [text for text in texts if text is not None]
    return made[rest % len(made)] if made else None

  def expand(self, fields: Fields) -> Iterator[tuple[str, float]]:
    expanded = [list(part.expand(fields)) for part in self.parts]
    made = [texts for texts in expanded if texts]
    for texts in made:
      for text, share in texts:
        yield text, share / len(made)


@dataclasses.dataclass(frozen=True, slots=True)
class Shuffled:
  """All of several parts, in random order."""

  parts: tuple[Joined, ...]
  number: int

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    left = [part.draw(fields, words) for part in self.parts]
    order = words[self.number]
    texts = []
    while left:
      order, position = divmod(order, len(left))
      text = left.pop(position)
      if text is None:
        return None
      texts.append(text)
    return "".join(texts)

  def expand(self, fields: Fields) -> Iterator[tuple[str, float]]:
    share_of_order = 1 / math.factorial(len(self.parts))
    for order in itertools.permutations(self.parts):
      for text, share in Joined(order).expand(fields):
        yield text, share * share_of_order


Part = Literal | Slot | Joined | Optional | OneOf | Shuffled


@dataclasses.dataclass(frozen=True)
class Grammar:
  """One parsed text.

  Attributes:
    text: the text as it is written.
    root: its parts.
    num_words: random words of 64 bits that a draw takes.
    slots: names of all slots, sorted; CAPTION is that of `{}`.
  """

  text: str
  root: Joined
  num_words: int
  slots: tuple[str, ...]

  def draw(self, fields: Fields, words: Sequence[int]) -> str | None:
    """Return a text, or None where the example lacks a field that it needs.

    Args:
      fields: value of each field that the example has.
      words: `num_words` random integers below 2**64.
    """
    return self.root.draw(fields, words)


def parse(text: str, articles: Sequence[str] = ()) -> Grammar:
  """Return the grammar of a text.

  Args:
    text: text with the marks of the module's docstring.
    articles: values before which `:the` puts "the ".

  Raises:
    ValueError: a mark is not closed, unknown or misplaced; the message has its
      position.

  >>> grammar = parse("a photo of {name:a}[, in {place}]")
  >>> grammar.draw({"name": "owl"}, [0])
  'a photo of an owl'
  """
  return _Parser(text, frozenset(articles)).grammar()


def expand(grammar: Grammar, fields: Fields) -> dict[str, float]:
  """Return every text of a grammar, and the probability that it is drawn.

  The same grammar then names classes in a zero-shot evaluation.

  Raises:
    ValueError: there are more than MAX_EXPANDED texts.
  """
  texts: dict[str, float] = {}
  for text, share in grammar.root.expand(fields):
    texts[text] = texts.get(text, 0.0) + share
    if len(texts) > MAX_EXPANDED:
      raise ValueError(
        f"the grammar {grammar.text!r} has more than {MAX_EXPANDED} texts"
      )
  return texts


@functools.lru_cache(maxsize=64)
def batch_words(seed: int, step: int, num_words: int) -> tuple[int, ...]:
  """Return the random words of a batch, equal for all of its examples."""
  digest = hashlib.shake_128(f"{seed}/{step}".encode()).digest(8 * num_words)
  return tuple(
    int.from_bytes(digest[start : start + 8], "little")
    for start in range(0, len(digest), 8)
  )


class _Parser:
  """Recursive descent over one text."""

  def __init__(self, text: str, articles: frozenset[str]):
    self.text = text
    self.articles = articles
    self.position = 0
    self.num_words = 0
    self.slots: set[str] = set()

  def grammar(self) -> Grammar:
    root = self.joined("")
    if self.position < len(self.text):
      raise self.error(f"{self.text[self.position]!r} closes nothing")
    return Grammar(self.text, root, self.num_words, tuple(sorted(self.slots)))

  def joined(self, end: str) -> Joined:
    """Return the parts up to one of the characters `end`, or the end."""
    parts: list[Part] = []
    literal: list[str] = []

    def flush() -> None:
      if literal:
        parts.append(Literal("".join(literal)))
        literal.clear()

    while self.position < len(self.text):
      letter = self.text[self.position]
      if letter in end or letter in "])>}":
        break
      if letter == "|":
        break
      if letter == "\\":
        literal.append(self.escaped())
      elif letter == "{":
        flush()
        parts.append(self.slot())
      elif letter in _CLOSING:
        flush()
        parts.append(self.group(letter))
      else:
        literal.append(letter)
        self.position += 1
    flush()
    return Joined(tuple(parts))

  def escaped(self) -> str:
    letter = self.text[self.position + 1 : self.position + 2]
    if not letter or letter not in _SPECIAL + "?":
      raise self.error(f"a backslash must stand before one of {_SPECIAL}?")
    self.position += 2
    return letter

  def slot(self) -> Slot:
    match = _SLOT.match(self.text, self.position)
    if match is None:
      raise self.error("a slot is {NAME}, {NAME/NAME}, {NAME:FILTER} or {}")
    names = tuple(match[1].split("/"))
    if len(names) > 1 and "" in names:
      raise self.error("a slot has an empty name")
    change = self.filter(match[2]) if match[2] else None
    self.slots.update(names)
    self.position = match.end()
    return Slot(names, change)

  def filter(self, name: str) -> Callable[[str], str]:
    if name == "the":
      return functools.partial(_with_the, self.articles)
    filters = {"a": _with_a, "lower": str.lower, "capital": _capital}
    if name not in filters:
      raise self.error(f"a filter must be among {', '.join(_FILTERS)}")
    return filters[name]

  def group(self, opening: str) -> Part:
    start, closing = self.position, _CLOSING[opening]
    number = self.num_words
    self.num_words += 1
    parts = []
    while True:
      self.position += 1
      parts.append(self.joined("|"))
      letter = self.text[self.position : self.position + 1]
      if letter == closing:
        break
      if letter != "|":
        self.position = start
        raise self.error(f"{opening!r} is not closed by {closing!r}")
    self.position += 1
    if opening == "[":
      if len(parts) > 1:
        self.position = start
        raise self.error("'|' stands within ( ) or < > only")
      probability = self.probability()
      threshold = round(probability * _WORD)
      return Optional(parts[0], probability, threshold, number)
    if opening == "(":
      return OneOf(tuple(parts), number)
    if len(parts) > _MAX_SHUFFLED:
      self.position = start
      raise self.error(f"< > has at most {_MAX_SHUFFLED} parts")
    return Shuffled(tuple(parts), number)

  def probability(self) -> float:
    match = _PROBABILITY.match(self.text, self.position)
    if match is None:
      return 1.0
    probability = float(match[1])
    if probability > 1:
      raise self.error("a probability must be at most 1")
    self.position = match.end()
    return probability

  def error(self, message: str) -> ValueError:
    return ValueError(
      f"{message}; got {self.text!r} at character {self.position + 1}"
    )


def _with_the(articles: frozenset[str], value: str) -> str:
  return f"the {value}" if value in articles else value


def _with_a(value: str) -> str:
  return f"an {value}" if value[0].lower() in "aeiou" else f"a {value}"


def _capital(value: str) -> str:
  return value[0].upper() + value[1:]
