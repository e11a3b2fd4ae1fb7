"""A tokenizer: a vocabulary's codec under a rule."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tokenizers

from input_pipeline.tokenizers import cleaning, rules


class Codec(Protocol):
  """A vocabulary: text to ids and back, without marks and padding."""

  @property
  def vocab_size(self) -> int:
    """Return the number of rows that a token embedding needs."""
    ...

  @property
  def unk_id(self) -> int | None:
    """Return the id of unknown pieces; None if no piece can be unknown."""
    ...

  def encode(self, text: str) -> list[int]:
    """Return the ids of a text."""
    ...

  def decode(self, ids: list[int]) -> str:
    """Return the text of ids."""
    ...


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """Texts to rows of ids. Threads may share one."""

  codec: Codec
  rule: rules.Rule

  @property
  def vocab_size(self) -> int:
    """Return the number of rows that a token embedding needs."""
    return self.codec.vocab_size

  @property
  def num_tokens(self) -> int:
    """Return the length of a row."""
    return self.rule.num_tokens

  @property
  def pad_id(self) -> int:
    """Return the id that fills the rest of a row."""
    return self.rule.pad_id

  @property
  def eos_id(self) -> int | None:
    """Return the id after a text; None for rules without one."""
    return self.rule.eos_id

  def __call__(self, texts: Sequence[str]) -> np.ndarray:
    """Return ids, int32 [N, num_tokens]."""
    return self.rule.pack([self.ids(text) for text in texts])

  def of_length(self, num_tokens: int) -> "Tokenizer":
    """Return the same tokenizer with rows of another length."""
    rule = dataclasses.replace(self.rule, num_tokens=num_tokens)
    return dataclasses.replace(self, rule=rule)

  def ids(self, text: str) -> list[int]:
    """Return the ids of a text, cleaned, without marks; none is cut off."""
    return self.codec.encode(cleaning.CLEANINGS[self.rule.clean](text))

  def num_ids(self, text: str) -> int:
    """Return the number of ids of a text with its marks, before it is cut."""
    return self.rule.num_marks + len(self.ids(text))

  def decode(self, ids: Sequence[int]) -> str:
    """Return the text as it was cleaned; a cut character is U+FFFD."""
    return self.codec.decode(self.rule.unpack(ids))

  @property
  def marks(self) -> frozenset[int]:
    """Return the ids of marks and padding that stand for no text.

    A padding id that is a word too, as 0 is "!" for CLIP, is not among them.
    """
    rule = self.rule
    # Text of a word is one piece; that of a mark, as "<pad>", is several.
    is_word = len(self.codec.encode(self.codec.decode([rule.pad_id]))) == 1
    ids = {rule.bos_id, rule.eos_id, None if is_word else rule.pad_id}
    return frozenset(token for token in ids if token is not None)


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A codec of the `tokenizers` package, its marks and padding left out."""

  tokenizer: tokenizers.Tokenizer
  # Highest id + 1: more than the number of entries if ids have gaps.
  vocab_size: int

  @classmethod
  def make(cls, tokenizer: tokenizers.Tokenizer) -> "Compiled":
    """Return the codec, with padding and truncation of the file disabled."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return cls(tokenizer, max(vocabulary.values(), default=-1) + 1)

  @property
  def unk_id(self) -> int | None:
    """Return the id of unknown pieces; None if no piece can be unknown."""
    model = self.tokenizer.model
    if isinstance(model, tokenizers.models.Unigram):
      # This model has no attribute for it; only its stored form does.
      return json.loads(self.tokenizer.to_str())["model"]["unk_id"]
    unknown = model.unk_token
    return None if unknown is None else self.tokenizer.token_to_id(unknown)

  def encode(self, text: str) -> list[int]:
    """Return the ids of a text."""
    # Texts are encoded singly: encode_batch would start threads of its own in
    # each of Grain's threads.
    return self.tokenizer.encode(text, add_special_tokens=False).ids

  def decode(self, ids: list[int]) -> str:
    """Return the text of ids."""
    return self.tokenizer.decode(ids)


def check_size(tokenizer: Tokenizer, name: str, vocab_size: int) -> Tokenizer:
  """Return the tokenizer; raise ValueError for more ids than `vocab_size`."""
  if tokenizer.vocab_size > vocab_size:
    raise ValueError(
      f'data.tokenizer="{name}" needs data.vocab_size of at least '
      f"{tokenizer.vocab_size}; got {vocab_size}"
    )
  return tokenizer
