"""Text as its UTF-8 bytes: nothing to train, nothing unknown."""

import dataclasses
import pathlib
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from input_pipeline.tokenizers import padding

# Ids 0 and 1 are padding and end of text.
_OFFSET = 2


@dataclasses.dataclass(frozen=True)
class Bytes:
  """Byte b has id b + 2."""

  num_tokens: int
  vocab_size: int = 256 + _OFFSET

  def __call__(self, texts: Sequence[str]) -> np.ndarray:
    """Return ids, int32 [N, num_tokens]."""
    encoded = (
      unicodedata.normalize("NFKC", text).lower().encode() for text in texts
    )
    return padding.pad(
      [[byte + _OFFSET for byte in text] for text in encoded], self.num_tokens
    )

  def decode(self, ids: Sequence[int]) -> str:
    """Return the text; a character cut in two becomes U+FFFD."""
    kept = padding.unpad(ids)
    return bytes(token - _OFFSET for token in kept).decode(errors="replace")


def make_tokenizer(
  texts: Callable[[], Sequence[str]],
  folder: pathlib.Path,
  *,
  languages: Sequence[str],
  vocab_size: int,
  num_tokens: int,
) -> Bytes:
  """Return the tokenizer; it reads no text and writes no file."""
  del texts, folder, languages
  tokenizer = Bytes(num_tokens)
  if vocab_size < tokenizer.vocab_size:
    raise ValueError(
      f'data.tokenizer="bytes" needs data.vocab_size of at least '
      f"{tokenizer.vocab_size}, got {vocab_size}"
    )
  return tokenizer
