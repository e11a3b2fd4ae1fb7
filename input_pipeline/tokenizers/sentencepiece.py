"""SentencePiece models (the user's file) under T5's and SigLIP's rules.

Kudo and Richardson, arXiv 1808.06226. The model itself defines the
normalisation of text (Unicode form, spaces).
"""

import dataclasses
import functools
import pathlib

import sentencepiece

from input_pipeline.tokenizers import (
  from_file,
  rules,
  tokenizer,
  vocabulary,
)

_NAMES = ("spiece.model", "tokenizer.model", "sentencepiece.model")

# Name -> rule, and origin of the file that its models use.
_RULES: dict[str, tuple[rules.Rule, str]] = {
  "sentencepiece": (
    rules.T5,
    "in folders of Hugging Face such as google-t5/t5-base (32,000 pieces) or "
    "google/mt5-base (250,000)",
  ),
  "siglip": (
    rules.SIGLIP,
    "in folders of Hugging Face: google/siglip-base-patch16-224 (English, "
    "32,000 pieces) or google/siglip-base-patch16-256-multilingual (250,000)",
  ),
  "siglip_train": (
    rules.SIGLIP_TRAIN,
    "in folders of Hugging Face: google/siglip-base-patch16-224 (English, "
    "32,000 pieces) or google/siglip-base-patch16-256-multilingual (250,000)",
  ),
  "siglip2": (
    rules.SIGLIP2,
    "Gemma's model of 256,000 pieces, in folders of Hugging Face such as "
    "google/gemma-2b. google/siglip2-base-patch16-224 holds it as "
    'tokenizer.json, which data.tokenizer="hf" reads',
  ),
}

FILES = {
  name: vocabulary.Files(name, _NAMES, origin)
  for name, (_, origin) in _RULES.items()
}


@dataclasses.dataclass(frozen=True)
class SentencePiece:
  """The codec of a SentencePiece model."""

  processor: sentencepiece.SentencePieceProcessor

  @property
  def vocab_size(self) -> int:
    """Return the number of pieces."""
    return self.processor.get_piece_size()

  @property
  def unk_id(self) -> int | None:
    """Return the id of pieces that are not in the model."""
    return self.processor.unk_id()

  def encode(self, text: str) -> list[int]:
    """Return the ids of a text; a mark's name within it is plain text."""
    return self.processor.encode(text)

  def decode(self, ids: list[int]) -> str:
    """Return the text of ids."""
    return self.processor.decode(ids)


def load(
  file: pathlib.Path,
  num_tokens: int,
  name: str = "sentencepiece",
  *,
  pad: str | None = None,
) -> tokenizer.Tokenizer:
  """Return the model's tokenizer under the rule called `name`.

  `pad` is a piece to pad with in place of the rule's. Raises ValueError for a
  model whose padding or end is not the rule's.
  """
  rule = dataclasses.replace(_RULES[name][0], num_tokens=num_tokens)
  processor = sentencepiece.SentencePieceProcessor()
  try:
    processor.LoadFromSerializedProto(file.read_bytes())
  except (OSError, RuntimeError) as error:
    raise FILES[name].refuse(file, str(error).strip()) from error
  if processor.eos_id() != rule.eos_id:
    raise FILES[name].refuse(
      file,
      f"the end of a text is id {processor.eos_id()}, expected {rule.eos_id}",
    )
  # SigLIP pads with the end of text and ignores the model's own padding.
  if rule.pad_id != rule.eos_id and processor.pad_id() != rule.pad_id:
    raise FILES[name].refuse(
      file, f"padding is id {processor.pad_id()}, expected {rule.pad_id}"
    )
  if pad is not None:
    pad_id = processor.piece_to_id(pad)
    if processor.id_to_piece(pad_id) != pad:  # the id of unknown pieces
      raise FILES[name].refuse(file, f"it lacks the padding {pad!r}")
    rule = dataclasses.replace(rule, pad_id=pad_id)
  return tokenizer.Tokenizer(SentencePiece(processor), rule)


MAKERS = {
  name: from_file.maker(functools.partial(load, name=name), files)
  for name, files in FILES.items()
}
