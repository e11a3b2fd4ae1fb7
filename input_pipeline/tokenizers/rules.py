"""What a tokenizer does around its vocabulary, and the published rules.

A vocabulary alone does not fix the ids: the same SentencePiece file is padded
with 1 by SigLIP and with 0 by T5. A `Rule` says the rest.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from input_pipeline.tokenizers import cleaning


@dataclasses.dataclass(frozen=True)
class Rule:
  """How the ids of a text become a row of `num_tokens` ids.

  Attributes:
    num_tokens: length of every row; a longer text loses its end.
    pad_id: fills up what is left of a row.
    eos_id: follows every text; None for rules without.
    bos_id: precedes every text; None for rules without.
    clean: what is done to a text first; key of cleaning.CLEANINGS.
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
    if self.clean not in cleaning.CLEANINGS:
      raise ValueError(
        f"a rule's clean must be one of {sorted(cleaning.CLEANINGS)}; got "
        f"{self.clean!r}"
      )
    if self.num_tokens <= self.num_marks:
      raise ValueError(
        f"num_tokens must be at least {self.num_marks + 1}, for one token of "
        f"text beside {self.num_marks} that mark its ends; got "
        f"{self.num_tokens}"
      )

  @property
  def num_marks(self) -> int:
    """Return how many ids stand around a text."""
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
    # With an end, padding is what follows it; only without one does an id that
    # is also a token of the vocabulary (0 is "!" for CLIP) mean padding.
    if self.eos_id in tokens:
      return tokens[: tokens.index(self.eos_id)]
    while tokens and tokens[-1] == self.pad_id:
      tokens.pop()
    return tokens


def run(num_tokens: int) -> Rule:
  """Return the rule of the vocabularies that are made here ("bpe", "bytes")."""
  return Rule(num_tokens, pad_id=0, eos_id=1)


# Published rules, with the length that their models were trained with. What
# builds a tokenizer takes the ids from the user's file and the rest from here.

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
