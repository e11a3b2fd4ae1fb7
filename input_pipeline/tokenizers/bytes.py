"""Text as its UTF-8 bytes: no training, no unknown pieces."""

import dataclasses
import pathlib
import unicodedata
from collections.abc import Callable, Sequence

from input_pipeline.tokenizers import rules, tokenizer

# Ids 0 and 1 are padding and end of text.
_OFFSET = 2


@dataclasses.dataclass(frozen=True)
class Bytes:
  """Byte b of the text in Unicode form NFKC and lower case has id b + 2."""

  vocab_size: int = 256 + _OFFSET
  unk_id: None = None

  def encode(self, text: str) -> list[int]:
    """Return the ids of a text."""
    text = unicodedata.normalize("NFKC", text).lower()
    return [byte + _OFFSET for byte in text.encode()]

  def decode(self, ids: list[int]) -> str:
    """Return the text; a character cut in two becomes U+FFFD."""
    kept = bytes(token - _OFFSET for token in ids if token >= _OFFSET)
    return kept.decode(errors="replace")


def make_tokenizer(
  texts: Callable[[], Sequence[str]],
  folder: pathlib.Path,
  *,
  languages: Sequence[str],
  vocab_size: int,
  num_tokens: int,
  path: str = "",
) -> tokenizer.Tokenizer:
  """Return the tokenizer; it reads no text and writes no file."""
  del texts, folder, languages, path
  made = tokenizer.Tokenizer(Bytes(), rules.run(num_tokens))
  return tokenizer.check_size(made, "bytes", vocab_size)
