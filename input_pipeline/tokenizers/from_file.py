"""Tokenizers that read the user's vocabulary, as TOKENIZERS has them."""

import pathlib
from collections.abc import Callable, Sequence

from input_pipeline.tokenizers import tokenizer, vocabulary


def maker(
  load: Callable[[pathlib.Path, int], tokenizer.Tokenizer],
  files: vocabulary.Files,
) -> Callable[..., tokenizer.Tokenizer]:
  """Return make_tokenizer of what reads one of `files`.

  Args:
    load: from the file and num_tokens.
    files: what is looked for at `path`.
  """

  def make_tokenizer(
    texts: Callable[[], Sequence[str]],
    folder: pathlib.Path,
    *,
    languages: Sequence[str],
    vocab_size: int,
    num_tokens: int,
    path: str = "",
  ) -> tokenizer.Tokenizer:
    """Return the tokenizer whose vocabulary is at `path`; trains nothing.

    Raises FileNotFoundError or ValueError for what is no such vocabulary.
    """
    del texts, folder, languages
    made = load(files.find(path), num_tokens)
    return tokenizer.check_size(made, files.tokenizer, vocab_size)

  return make_tokenizer
