"""Tokens that a model folder adds to its vocabulary, and their ids.

tokenizer_config.json ("added_tokens_decoder", since transformers 4.34) and
added_tokens.json (older) name them. tokenizer.json holds its own.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers

from input_pipeline.tokenizers import sentencepiece, tokenizer

_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def read(
  config: Mapping[str, Any], older: Mapping[str, Any]
) -> dict[int, tokenizers.AddedToken]:
  """Return added tokens by id, in the order of their ids.

  Args:
    config: content of tokenizer_config.json.
    older: content of added_tokens.json.

  Raises:
    ValueError: an entry is no token with an id.
  """
  return dict(sorted(_entries(config, older), key=lambda entry: entry[0]))


def _entries(
  config: Mapping[str, Any], older: Mapping[str, Any]
) -> Iterator[tuple[int, tokenizers.AddedToken]]:
  entries = [(number, content) for content, number in older.items()]
  entries += (config.get("added_tokens_decoder") or {}).items()
  for number, token in entries:
    fields = {"content": token} if isinstance(token, str) else token
    try:
      flags = {x: bool(fields[x]) for x in _FLAGS if x in fields}
      special = bool(fields.get("special", False))
      made = tokenizers.AddedToken(fields["content"], special=special, **flags)
      yield int(number), made
    except (TypeError, ValueError, KeyError, AttributeError) as error:
      raise ValueError(
        f"added tokens must be texts with ids; got {number!r}: {token!r:.80}"
      ) from error


def add(
  made: tokenizer.Tokenizer, added: Mapping[int, tokenizers.AddedToken]
) -> tokenizer.Tokenizer:
  """Return a tokenizer that encodes added tokens within a text as their ids.

  Raises:
    ValueError: a token has another id in the vocabulary, or cannot have its id.
  """
  if isinstance(made.codec, sentencepiece.SentencePiece):
    processor = made.codec.processor
    for number, token in added.items():
      if processor.piece_to_id(token.content) != number:
        raise _refused(token, number, "this SentencePiece model lacks it")
    return made
  if not isinstance(made.codec, tokenizer.Compiled):
    return made
  compiled = made.codec.tokenizer
  known = {x.content for x in compiled.get_added_tokens_decoder().values()}
  for number, token in added.items():
    if token.content not in known:
      compiled.add_tokens([token])
    if (got := compiled.token_to_id(token.content)) != number:
      raise _refused(token, number, f"its id in the vocabulary is {got}")
  return dataclasses.replace(made, codec=tokenizer.Compiled.make(compiled))


def _refused(
  token: tokenizers.AddedToken, number: int, reason: str
) -> ValueError:
  return ValueError(
    f"added token {token.content!r} must have the id {number} that the"
    f" folder's files give it; {reason}"
  )
