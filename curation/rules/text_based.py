"""DataComp's text-based filter: captions that name something of ImageNet-21k.

Gadre et al. (arXiv 2304.14108); mlfoundations/datacomp,
baselines/apply_filter.py, `does_contain_text_entity`. That filter takes English
captions only, which is a step of its own here (`language`).
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

_WNID = re.compile(r"n\d{8}")
# Words whose answer is kept: captions have new ones without end.
_KEPT_WORDS = 1 << 20


@dataclasses.dataclass(frozen=True)
class TextBased(operators.Filter):
  """Keep captions of which a word's first synset is among classes.

  A word is what is between white space, with its punctuation, and is looked up
  as NLTK does it: in lower case, then without its ending.

  Attributes:
    classes: file of WordNet 3.0 IDs, one a line ("n02084071"): ImageNet-21k's
      for DataComp's filter.
    wordnet: folder of WordNet 3.0's files; "" takes the package's.
    nouns_only: whether the synset has to be a noun. DataComp compares the
      offset alone, which a verb can share with a noun: False.
  """

  classes: str
  wordnet: str
  nouns_only: bool

  @property
  def columns(self) -> tuple[str, ...]:
    return ("text",)

  def check(self, field: str) -> None:
    if not self.classes:
      raise ValueError(
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
      # Each word of the table once. Arrow's white space is Python's.
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
    ValueError: a line is none, or there are none.
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
