"""Writer of tokenizers in the files that transformers' AutoTokenizer reads."""

import json
import pathlib
from typing import Any

import tokenizers
from tokenizers import (
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  processors,
)

from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import tokenizer as tokenizer_lib
from runtime.storage import whole_files

# All files of a tokenizer that a model folder may contain.
NAMES = (
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "vocab.txt",
  "spiece.model",
  "tokenizer.model",
  "sentencepiece.bpe.model",
)


def write(made: tokenizer_lib.Tokenizer, folder: pathlib.Path) -> None:
  """Write tokenizer.json and tokenizer_config.json that give the same ids.

  Raises:
    ValueError: these files cannot express the tokenizer.
  """
  rule = made.rule
  if rule.clean != "none" or not rule.cut_keeps_eos:
    raise ValueError(
      f"its texts are cleaned by rule {rule.clean!r}, which tokenizer.json"
      " cannot say; take the files of the published model"
    )
  if isinstance(made.codec, tokenizer_lib.Compiled):
    whole = tokenizers.Tokenizer.from_str(made.codec.tokenizer.to_str())
  elif isinstance(made.codec, bytes_lib.Bytes):
    whole = _of_bytes(made.codec)
  else:
    raise ValueError(
      f"its vocabulary is read by {type(made.codec).__name__}, which has no"
      " tokenizer.json; take the files of the published model"
    )
  marks = {
    name: (whole.id_to_token(token), token)
    for name, token in (("bos", rule.bos_id), ("eos", rule.eos_id))
    if token is not None
  }
  pad = whole.id_to_token(rule.pad_id)
  whole.add_special_tokens([pad, *(token for token, _ in marks.values())])
  parts = [marks[x][0] if x in marks else "" for x in ("bos", "eos")]
  template = f"{parts[0]} $A {parts[1]}".strip()
  whole.post_processor = processors.TemplateProcessing(
    single=template, special_tokens=sorted(set(marks.values()))
  )
  side = "left" if rule.pad_left else "right"
  whole.enable_truncation(rule.num_tokens)
  whole.enable_padding(
    direction=side, pad_id=rule.pad_id, pad_token=pad, length=rule.num_tokens
  )
  config: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": rule.num_tokens,
    "padding_side": side,
    "truncation_side": "right",
    "clean_up_tokenization_spaces": False,
    "pad_token": pad,
  } | {f"{name}_token": token for name, (token, _) in marks.items()}
  whole_files.write(
    folder / "tokenizer.json", whole.to_str(pretty=True).encode() + b"\n"
  )
  text = json.dumps(config, indent=2, ensure_ascii=False)
  whole_files.write(folder / "tokenizer_config.json", text.encode() + b"\n")


def _of_bytes(codec: bytes_lib.Bytes) -> tokenizers.Tokenizer:
  """Return byte-pair encoding without pairs: one token a byte.

  One letter differs: the `tokenizers` package lowers a capital sigma at the end
  of a word to "σ", Python to "ς".
  """
  first = codec.vocab_size - 256
  vocabulary = {"<pad>": 0, "<eos>": 1} | {
    letter: first + byte for byte, letter in enumerate(_letters())
  }
  whole = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
  whole.normalizer = normalizers.Sequence(
    [normalizers.NFKC(), normalizers.Lowercase()]
  )
  whole.pre_tokenizer = pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  whole.decoder = decoders.ByteLevel()
  whole.add_special_tokens(["<pad>", "<eos>"])
  return whole


def _letters() -> list[str]:
  """Return the letter that ByteLevel writes for each byte.

  A byte that is a visible letter of Latin-1 is that letter; other bytes are the
  letters from U+0100 on, in order (GPT-2's encoder).
  """
  letters, num_hidden = [], 0
  for byte in range(256):
    visible = chr(byte).isprintable() and byte != ord(" ")
    letters.append(chr(byte) if visible else chr(256 + num_hidden))
    num_hidden += not visible
  return letters
