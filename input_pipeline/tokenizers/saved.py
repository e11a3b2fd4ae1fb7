"""A tokenizer as files of a run's folder, read without the data of the run.

The files hold a vocabulary (tokenizer.json or spiece.model; none for bytes) and
rule.json, which is written last: the kind of the codec, the rule, and a digest
of the vocabulary.
"""

import dataclasses
import hashlib
import json
import pathlib

import sentencepiece
import tokenizers

from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import clip, rules, tokenizer
from input_pipeline.tokenizers import sentencepiece as sentencepiece_lib
from runtime.storage import whole_files

_RULE = "rule.json"
# Kind of codec -> file of its vocabulary.
_FILES = {
  "compiled": "tokenizer.json",
  "clip": "tokenizer.json",
  "sentencepiece": "spiece.model",
  "bytes": "",
}


def is_there(folder: pathlib.Path) -> bool:
  """Return whether a folder has a tokenizer that `write` wrote."""
  return (folder / _RULE).is_file()


def write(made: tokenizer.Tokenizer, folder: pathlib.Path) -> None:
  """Write a tokenizer's files into a folder, which is made if need be."""
  folder.mkdir(parents=True, exist_ok=True)
  kind, content = _content(made)
  if content:
    whole_files.write(folder / _FILES[kind], content)
  facts = {
    "codec": kind,
    "vocab_size": made.vocab_size,
    "digest": digest(made),
    "rule": dataclasses.asdict(made.rule),
  }
  text = json.dumps(facts, indent=2)
  whole_files.write(folder / _RULE, text.encode() + b"\n")


def read(folder: pathlib.Path) -> tokenizer.Tokenizer:
  """Return the tokenizer of a folder that `write` wrote.

  Raises:
    ValueError: a file is missing, damaged, or of another version.
  """
  try:
    facts = json.loads((folder / _RULE).read_text("utf-8"))
    kind = facts["codec"]
    file = _FILES[kind]
    content = (folder / file).read_bytes() if file else b""
    is_changed = facts["digest"] != _digest(kind, content)
    rule = rules.Rule(**facts["rule"])
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{folder} holds no tokenizer: {error!r}; restore it from a copy"
    ) from error
  if is_changed:
    raise ValueError(
      f"{folder / file} was changed after the run began; expected a file of"
      f" digest {facts['digest']}"
    )
  return tokenizer.Tokenizer(_codec(kind, content), rule)


def digest(made: tokenizer.Tokenizer) -> str:
  """Return a digest of the vocabulary: 16 hexadecimal digits."""
  return _digest(*_content(made))


def _digest(kind: str, content: bytes) -> str:
  data = kind.encode() + b"\0" + content
  return hashlib.blake2b(data, digest_size=8).hexdigest()


def _content(made: tokenizer.Tokenizer) -> tuple[str, bytes]:
  """Return the kind of a tokenizer's codec, and its vocabulary's bytes."""
  codec = made.codec
  if isinstance(codec, sentencepiece_lib.SentencePiece):
    return "sentencepiece", codec.processor.serialized_model_proto()
  if isinstance(codec, bytes_lib.Bytes):
    return "bytes", b""
  if isinstance(codec, clip.Clip):
    return "clip", codec.compiled.tokenizer.to_str().encode()
  assert isinstance(codec, tokenizer.Compiled), type(codec)
  return "compiled", codec.tokenizer.to_str().encode()


def _codec(kind: str, content: bytes) -> tokenizer.Codec:
  if kind == "bytes":
    return bytes_lib.Bytes()
  if kind == "sentencepiece":
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(content)
    return sentencepiece_lib.SentencePiece(processor)
  compiled = tokenizer.Compiled.make(
    tokenizers.Tokenizer.from_str(content.decode())
  )
  return clip.codec(compiled) if kind == "clip" else compiled
