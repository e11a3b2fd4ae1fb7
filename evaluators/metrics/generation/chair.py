"""CHAIR: objects that captions name and that their images lack.

  CHAIRi   share of the mentions of objects that are of none in the image
  CHAIRs   share of the captions with such a mention

An object is in an image where it is annotated, or where a reference mentions it
(Rohrbach et al., arXiv 1809.02156). Words that mean an object are an argument;
no list comes with this code, and the paper's is data/synonyms.txt of
github.com/LisaAnne/Hallucination (sets/disk/generated.py reads it).

The paper's code splits words and finds singulars by packages that are not kept
up any more. Here words are those of a pattern, as they stand or by a few rules
of English plurals, so that figures have names of their own.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals

KIND = "object_hallucination"
INSTANCE, SENTENCE = NAMES = ("CHAIRi (regex words)", "CHAIRs (regex words)")
_WORD = re.compile(r"\w+")
# Plurals without a rule.
_IRREGULAR = {
  "children": "child",
  "geese": "goose",
  "men": "man",
  "mice": "mouse",
  "people": "person",
}
# End of a plural -> ends of its singular.
_ENDS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"))
_ENDS += (("es", ""), ("s", ""))


@dataclasses.dataclass(frozen=True)
class Synonyms:
  """Words that mean an object.

  Attributes:
    object_of: word, or words joined by a space -> object.
    num_words: words of the longest entry.
  """

  object_of: Mapping[str, str]
  num_words: int


def make_synonyms(words: Mapping[str, Collection[str]]) -> Synonyms:
  """Return the table of {object: words}; an object's name means it too.

  Raises:
    ValueError: there is no object, or an entry without a word, or an entry of
      two objects.
  """
  object_of: dict[str, str] = {}
  for name, entries in words.items():
    for entry in (name, *entries):
      key = " ".join(_words(entry))
      if not key or object_of.setdefault(key, name) != name:
        raise ValueError(
          "synonyms must be words of one object each; got"
          f" {entry!r} of {name!r} and {object_of.get(key, 'no word')!r}"
        )
  if not object_of:
    raise ValueError("synonyms must have at least one object; got none")
  return Synonyms(object_of, max(len(key.split()) for key in object_of))


def mentions(caption: str, synonyms: Synonyms) -> list[str]:
  """Return the objects that a caption mentions, in order, each time anew.

  Of several entries at a place, the longest counts: "hot dog" is no dog.

  >>> table = make_synonyms({"dog": ["puppy"], "hot dog": []})
  >>> mentions("Two puppies and a hot dog", table)
  ['dog', 'hot dog']
  """
  words = _words(caption)
  found, start = [], 0
  while start < len(words):
    for num in range(min(synonyms.num_words, len(words) - start), 0, -1):
      first, last = words[start : start + num - 1], words[start + num - 1]
      keys = (" ".join([*first, form]) for form in _forms(last))
      key = next((x for x in keys if x in synonyms.object_of), None)
      if key is not None:
        found.append(synonyms.object_of[key])
        start += num
        break
    else:
      start += 1
  return found


def record(
  captions: Sequence[str],
  objects: Sequence[Collection[str]],
  references: Sequence[Sequence[str]],
  synonyms: Synonyms,
) -> dict[str, Any]:
  """Return figures with intervals and chance, for results.json.

  Chance is the figure of captions that are each given to the next image. Where
  no caption mentions an object, there is no CHAIRi.

  Args:
    captions: caption of each image.
    objects: names of the annotated objects of each image.
    references: references of each image.
    synonyms: words that mean an object.

  Raises:
    ValueError: lengths differ, there are fewer than 2 images, or an annotated
      object is not among the synonyms.
  """
  if len(captions) < 2 or {len(objects), len(references)} != {len(captions)}:
    raise ValueError(
      "images must be at least 2, with a caption, objects and references each;"
      f" got {len(captions)}, {len(objects)} and {len(references)}"
    )
  there = []
  for number, (some, texts) in enumerate(zip(objects, references, strict=True)):
    keys = {name: " ".join(_words(name)) for name in some}
    if strange := [x for x in keys if keys[x] not in synonyms.object_of]:
      raise ValueError(
        f"synonyms must have all annotated objects; got {strange[:3]} of image"
        f" {number}"
      )
    said = {name for text in texts for name in mentions(text, synonyms)}
    there.append(said | {synonyms.object_of[key] for key in keys.values()})
  named = [mentions(caption, synonyms) for caption in captions]
  judged = _judge(named, there)
  expected = _judge(named, there[1:] + there[:1])
  num_lies = int(judged[SENTENCE].sum())
  bounds = {SENTENCE: intervals.wilson(num_lies, len(captions)).tolist()}
  if len(judged[INSTANCE]):
    image_P = np.repeat(np.arange(len(named)), [len(x) for x in named])
    bounds[INSTANCE] = intervals.clustered(judged[INSTANCE], image_P).tolist()
  return {
    "kind": KIND,
    "num_images": len(captions),
    "num_mentions": len(judged[INSTANCE]),
    **{name: float(judged[name].mean()) for name in bounds},
    "chance": {name: float(expected[name].mean()) for name in bounds},
    "intervals": bounds,
    "protocol": {
      "metric_version": "chair-1",
      "objects": "annotated ones, and those that references mention",
      "num_synonyms": len(synonyms.object_of),
      "words": "\\w+, lower case; plurals by rules: ours",
      "chance_is": "each caption for the next image",
    },
  }


def _judge(
  named: Sequence[Sequence[str]], there: Sequence[Collection[str]]
) -> dict[str, np.ndarray]:
  """Return whether each mention is wrong, and whether each caption has one."""
  wrong = [
    [name not in some for name in names]
    for names, some in zip(named, there, strict=True)
  ]
  return {
    INSTANCE: np.array([x for some in wrong for x in some], np.float64),
    SENTENCE: np.array([any(some) for some in wrong], np.float64),
  }


def _words(text: str) -> list[str]:
  return _WORD.findall(text.lower())


def _forms(word: str) -> list[str]:
  """Return a word as it stands, and what it may be the plural of."""
  forms = [word]
  if word in _IRREGULAR:
    forms.append(_IRREGULAR[word])
  forms += [
    word.removesuffix(end) + singular
    for end, singular in _ENDS
    if word.endswith(end) and len(word) > len(end) + 1
  ]
  return forms
