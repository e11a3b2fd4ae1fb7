"""DataComp's text-based filter: captions that name a class of ImageNet-21k.

Gadre et al. (arXiv 2304.14108); mlfoundations/datacomp,
baselines/apply_filter.py, `does_contain_text_entity`. DataComp's filter takes
English captions only; here the step `language` selects these.
"""

import dataclasses
import functools
import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation.captions import wordnet
from runtime import checks

_WNID = re.compile(r"n\d{8}")
# Cached answers, one for each word: captions have new words without end.
_KEPT_WORDS = 1 << 20


@dataclasses.dataclass(frozen=True)
class TextBased(operators.Filter):
  """Keep captions with a word whose first synset is among classes.

  Words are separated by white space, keep their punctuation, and are looked up
  as NLTK does it: in lower case, then without the ending.

  Attributes:
    classes: file of WordNet 3.0 IDs, one a line ("n02084071"): ImageNet-21k's
      for DataComp's filter.
    wordnet: folder of WordNet 3.0's files; "" takes the package's.
    nouns_only: whether the synset has to be a noun. False as in DataComp, whose
      filter compares the offset alone: a verb can share it with a noun.
  """

  classes: str
  wordnet: str
  nouns_only: bool

  columns = ("text",)

  def check(self, field: str) -> None:
    if not self.classes:
      checks.refuse(
        f"{field}.classes must name a file of WordNet IDs, one a line; got ''"
      )

  def files(self) -> tuple[str, ...]:
    return tuple(filter(None, (self.classes, self.wordnet)))

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context
    offsets = read_classes(pathlib.Path(self.classes))
    synsets = wordnet.FirstSynsets(self.wordnet)

    @functools.lru_cache(maxsize=_KEPT_WORDS)
    def is_named(word: str) -> bool:
      wnid = synsets.wnid(word)
      if wnid is None or (self.nouns_only and not wnid.startswith("n")):
        return False
      return int(wnid[1:]) in offsets

    def decide(table: pa.Table) -> operators.Verdict:
      # Each distinct word is looked up once. Arrow's white space is Python's.
      texts = table["text"].combine_chunks()
      words = pc.call_function("utf8_split_whitespace", [texts])
      encoded = words.flatten().dictionary_encode()
      named = [is_named(word) for word in encoded.dictionary.to_pylist()]
      hits = np.array(named, bool)[encoded.indices.to_numpy()]
      rows = pc.call_function("list_parent_indices", [words]).to_numpy()
      keep = np.zeros(len(table), bool)
      keep[rows[hits]] = True
      return operators.Verdict(keep)

    return decide


def read_classes(path: pathlib.Path) -> frozenset[int]:
  """Return the offsets of a file of WordNet IDs, one a line.

  Raises:
    ValueError: a line is not an ID, or there are no IDs.
  """
  lines = path.read_text(encoding="utf-8-sig").split("\n")
  offsets = set()
  for number, line in enumerate(lines, 1):
    wnid = line.strip()
    if wnid and not _WNID.fullmatch(wnid):
      raise ValueError(
        f"{path}, line {number}: expected the WordNet ID of a noun, as"
        f" n02084071; got {wnid[:40]!r}"
      )
    if wnid:
      offsets.add(int(wnid[1:]))
  if not offsets:
    raise ValueError(f"{path} has no WordNet IDs; expected one a line")
  return frozenset(offsets)
