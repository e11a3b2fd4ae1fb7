"""Maker of the entries of TOKENIZERS that read the user's vocabulary."""

import pathlib
from collections.abc import Callable, Sequence

from input_pipeline.tokenizers import tokenizer, vocabulary


def maker(
  load: Callable[[pathlib.Path, int], tokenizer.Tokenizer],
  files: vocabulary.Files,
) -> Callable[..., tokenizer.Tokenizer]:
  """Return the make_tokenizer of a tokenizer that reads one of `files`.

  Args:
    load: function from the file and num_tokens to the tokenizer.
    files: files that are searched at `path`.
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

    Raises FileNotFoundError for a missing file, ValueError for a wrong one.
    """
    del texts, folder, languages
    made = load(files.find(path), num_tokens)
    return tokenizer.check_size(made, files.tokenizer, vocab_size)

  return make_tokenizer
