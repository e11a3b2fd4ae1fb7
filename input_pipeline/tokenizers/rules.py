"""Rules of tokenizers beside their vocabulary, and the published rules.

A vocabulary alone does not fix the ids: the same SentencePiece file is padded
with 1 by SigLIP and with 0 by T5. A `Rule` fixes cleaning, marks, padding and
length.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from input_pipeline.tokenizers import cleaning
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Rule:
  """Rule that packs the ids of a text into a row of `num_tokens` ids.

  Attributes:
    num_tokens: length of every row; a longer text loses its end.
    pad_id: id that fills the rest of a row.
    eos_id: id after every text; None for rules without one.
    bos_id: id before every text; None for rules without one.
    clean: cleaning applied to a text first; key of cleaning.CLEANINGS.
    cut_keeps_eos: whether a text that is cut still ends in eos_id.
    pad_left: whether padding comes before the text.
  """

  num_tokens: int
  pad_id: int
  eos_id: int | None
  bos_id: int | None = None
  clean: str = "none"
  cut_keeps_eos: bool = True
  pad_left: bool = False

  def __post_init__(self):
    checks.one_of("a rule's clean", self.clean, sorted(cleaning.CLEANINGS))
    # One token of text beside the marks of its ends.
    checks.at_least("num_tokens", self.num_tokens, self.num_marks + 1)

  @property
  def num_marks(self) -> int:
    """Return the number of ids before and after a text."""
    return sum(mark is not None for mark in (self.bos_id, self.eos_id))

  def pack(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return int32 [N, num_tokens]: each sequence marked, cut and padded."""
    ids = np.full((len(sequences), self.num_tokens), self.pad_id, np.int32)
    bos = [] if self.bos_id is None else [self.bos_id]
    eos = [] if self.eos_id is None else [self.eos_id]
    for row, sequence in zip(ids, sequences, strict=True):
      tokens = [*bos, *sequence, *eos]
      if len(tokens) > self.num_tokens:
        tokens = tokens[: self.num_tokens]
        if eos and self.cut_keeps_eos:
          tokens[-1:] = eos
      start = self.num_tokens - len(tokens) if self.pad_left else 0
      row[start : start + len(tokens)] = tokens
    return ids

  def unpack(self, ids: Iterable[int]) -> list[int]:
    """Return the ids of the text alone, without marks and padding."""
    tokens = [int(token) for token in ids]
    if self.pad_left:
      while tokens and tokens[0] == self.pad_id:
        tokens.pop(0)
    if self.bos_id is not None and tokens[:1] == [self.bos_id]:
      tokens.pop(0)
    # All ids after an end of text are padding. Only in a text without one is
    # pad_id, which may also be a token (0 is "!" for CLIP), read as padding.
    if self.eos_id in tokens:
      return tokens[: tokens.index(self.eos_id)]
    while tokens and tokens[-1] == self.pad_id:
      tokens.pop()
    return tokens


def run(num_tokens: int) -> Rule:
  """Return the rule of the vocabularies of our own ("bpe", "bytes")."""
  return Rule(num_tokens, pad_id=0, eos_id=1)


# Published rules, with the length that their models were trained with. A
# tokenizer takes its ids from the user's file and the other fields from here.

# open_clip 3.3 (tokenizer.py, SimpleTokenizer) and OpenAI's clip.tokenize with
# truncate=True: LAION's and DataComp's releases, MetaCLIP 1, DFN. CoCa: 76.
CLIP = Rule(77, pad_id=0, bos_id=49406, eos_id=49407, clean="clip")
# transformers 5 (CLIPTokenizer) pads with the end of text, so that the model
# must pool at the first one. Its cleaning (Unicode form NFC and lower case;
# HTML entities stay) is part of the vocabulary's codec.
CLIP_HF = Rule(77, pad_id=49407, bos_id=49406, eos_id=49407)
# BERT's uncased vocabulary (arXiv 1810.04805). 64: ALIGN (arXiv 2102.05918,
# section 5; transformers' AlignProcessor).
BERT = Rule(64, pad_id=0, bos_id=101, eos_id=102)
# LiT in big_vision (pp/proj/flaxformer/bert_ops.py): no [SEP] after the text.
# 16: its configs/proj/image_text/lit_coco.py.
BERT_LIT = Rule(16, pad_id=0, bos_id=101, eos_id=None)
# T5 (arXiv 1910.10683; seqio): C4 and mC4 vocabularies.
T5 = Rule(64, pad_id=0, eos_id=1)
# SigLIP as transformers 5 runs it (SiglipTokenizer): without punctuation.
SIGLIP = Rule(64, pad_id=1, eos_id=1, clean="siglip")
# SigLIP as big_vision trained it (pp/ops_text.py: lower=True, eos="sticky",
# pad_value=1): punctuation stays, and only ASCII letters change their case.
SIGLIP_TRAIN = Rule(64, pad_id=1, eos_id=1, clean="lower_ascii")
# SigLIP 2 (arXiv 2502.14786, section 2.1; transformers 5, Siglip2Tokenizer):
# Gemma's vocabulary, lower case, no beginning of text.
SIGLIP2 = Rule(64, pad_id=0, eos_id=1, clean="lower")
