"""Rules about the size of an image and the length of its caption.

ALIGN's (Jia et al., arXiv 2102.05918, section 3), COYO-700M's (README.md of
kakaobrain/coyo-dataset) and those of DataComp's `basic_filter` and of the
captions of its image-based filter (mlfoundations/datacomp,
baselines/apply_filter.py) differ in their boundaries: configs/curate/steps.py
has each by name.
"""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators
from curation.keys import strings
from curation.rules import cuts
from runtime import checks


@dataclasses.dataclass(frozen=True)
class ImageSize(operators.Rule):
  """Keep images whose shorter side is long enough.

  Images of unknown size are dropped.

  Attributes:
    min_side: shortest side that is kept, in pixels.
    strict: whether an image of exactly that size is dropped.
  """

  min_side: int
  strict: bool

  columns = ("width", "height")

  def check(self, field: str) -> None:
    checks.at_least(f"{field}.min_side", self.min_side, 0)

  def keep(self, table: pa.Table) -> np.ndarray:
    shorter, _ = _sides(table)
    return shorter > self.min_side if self.strict else shorter >= self.min_side


@dataclasses.dataclass(frozen=True)
class AspectRatio(operators.Rule):
  """Keep images whose longer side is not too long for the shorter.

  Images of unknown size, or without any pixel, are dropped.

  Attributes:
    max_ratio: highest ratio of the longer to the shorter side.
    strict: whether an image of exactly that ratio is dropped.
  """

  max_ratio: float
  strict: bool

  columns = ("width", "height")

  def check(self, field: str) -> None:
    checks.at_least(f"{field}.max_ratio", self.max_ratio, 1)

  def keep(self, table: pa.Table) -> np.ndarray:
    shorter, longer = _sides(table)
    # Multiplied, not divided: the comparison is exact.
    limit = self.max_ratio * shorter
    is_slim = longer < limit if self.strict else longer <= limit
    return is_slim & (shorter > 0)


@dataclasses.dataclass(frozen=True)
class ImageBytes(operators.Rule):
  """Keep images whose encoded file is large enough.

  Attributes:
    min_bytes: smallest size that is kept.
  """

  min_bytes: int

  columns = ("image",)

  def keep(self, table: pa.Table) -> np.ndarray:
    sizes = pc.call_function("binary_length", [table["image"]])
    return sizes.fill_null(0).to_numpy() >= self.min_bytes


@dataclasses.dataclass(frozen=True)
class WordCount(operators.Rule):
  """Keep captions by their number of words.

  Attributes:
    min_words: lowest number that is kept.
    max_words: highest number that is kept; 0 for no limit.
    words: definition of a word, a key of WORDS.
  """

  min_words: int
  max_words: int
  words: str

  columns = ("text",)

  def check(self, field: str) -> None:
    _check_range(field, "words", self.min_words, self.max_words)
    checks.one_of(f"{field}.words", self.words, WORDS)

  def keep(self, table: pa.Table) -> np.ndarray:
    counts = WORDS[self.words](table["text"])
    return _within(counts, self.min_words, self.max_words)


@dataclasses.dataclass(frozen=True)
class CharCount(operators.Rule):
  """Keep captions by their number of characters: Unicode code points.

  Attributes:
    min_chars: lowest number that is kept.
    max_chars: highest number that is kept; 0 for no limit.
    squeeze: whether whitespace is squeezed before, as " ".join(text.split()).
  """

  min_chars: int
  max_chars: int
  squeeze: bool

  columns = ("text",)

  def check(self, field: str) -> None:
    _check_range(field, "chars", self.min_chars, self.max_chars)

  def keep(self, table: pa.Table) -> np.ndarray:
    texts = table["text"]
    if self.squeeze:
      texts = strings.squeezed(texts)
    return _within(strings.num_chars(texts), self.min_chars, self.max_chars)


@dataclasses.dataclass(frozen=True)
class AtMost(operators.Filter):
  """Keep pairs whose value in a column is not too high.

  Pairs without a value (null) are dropped; those whose value is NaN or infinite
  are, as faults (cuts.py).

  Attributes:
    column: name of a column of numbers: an NSFW score of the pool, say.
    max_value: highest value that is kept.
  """

  column: str
  max_value: float

  version = 2

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  def check(self, field: str) -> None:
    if math.isnan(self.max_value):
      checks.refuse(f"{field}.max_value must be a number; got nan")

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context

    def decide(table: pa.Table) -> operators.Verdict:
      # Null, NaN and infinity become NaN, which is not below anything.
      values = cuts.scores(table, self.column, np.dtype(np.float64))
      return cuts.verdict(table, self.column, values <= self.max_value)

    return decide


# Name -> count(column of texts): int64 [N].
WORDS = {"split": strings.num_words, "fasttext": strings.num_fasttext_tokens}


def _sides(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
  """Return the shorter and the longer sides, float64; NaN where unknown."""
  width = table["width"].to_numpy().astype(np.float64)
  height = table["height"].to_numpy().astype(np.float64)
  return np.minimum(width, height), np.maximum(width, height)


def _within(counts: np.ndarray, least: int, most: int) -> np.ndarray:
  is_within = counts >= least
  return is_within & (counts <= most) if most else is_within


def _check_range(field: str, name: str, least: int, most: int) -> None:
  checks.at_least(f"{field}.min_{name}", least, 0)
  if most and most < least:
    checks.refuse(
      f"{field}.max_{name} must be 0, for no limit, or at least"
      f" {field}.min_{name}, which is {least}; got {most}"
    )
