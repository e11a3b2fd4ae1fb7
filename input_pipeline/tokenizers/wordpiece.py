"""BERT's uncased WordPiece, from the user's vocab.txt or tokenizer.json.

Devlin et al., arXiv 1810.04805, section 3; google-research/bert,
tokenization.py: lower case without accents, each punctuation mark and Chinese
character a word of its own, then the longest piece that fits.
"""

import dataclasses
import functools
import pathlib

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from input_pipeline.tokenizers import (
  from_file,
  rules,
  tokenizer,
  vocabulary,
)

# Name -> rule.
_RULES = {"wordpiece": rules.BERT, "wordpiece_lit": rules.BERT_LIT}

FILES = {
  name: vocabulary.Files(
    name,
    ("vocab.txt", "tokenizer.json"),
    "both are in folders of Hugging Face such as google-bert/"
    "bert-base-uncased, kakaobrain/align-base or "
    "sentence-transformers/all-MiniLM-L6-v2",
  )
  for name in _RULES
}

_PAD, _UNK, _CLS, _SEP, _MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


def load(
  file: pathlib.Path,
  num_tokens: int,
  name: str = "wordpiece",
  *,
  lower_case: bool = True,
  strip_accents: bool | None = None,
  split_chinese: bool = True,
) -> tokenizer.Tokenizer:
  """Return BERT's tokenizer under the rule called `name`.

  Accents are stripped if `strip_accents`; None strips them with `lower_case`.
  Raises ValueError for a file that is no vocabulary of BERT.
  """
  rule = _RULES[name]
  if file.suffix == ".json":
    try:
      compiled = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises no narrower class
      raise FILES[name].refuse(file, error) from error
  else:
    compiled = tokenizers.Tokenizer(
      models.WordPiece(
        vocab=_read(file, name),
        unk_token=_UNK,
        max_input_chars_per_word=100,  # as in transformers
      )
    )
    compiled.normalizer = normalizers.BertNormalizer(
      clean_text=True,
      handle_chinese_chars=split_chinese,
      strip_accents=strip_accents,
      lowercase=lower_case,
    )
    compiled.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    compiled.decoder = decoders.WordPiece(prefix="##")
  ids = compiled.get_vocab(with_added_tokens=True)
  lacking = {_PAD, _UNK, _CLS, _SEP} - ids.keys()
  if lacking:
    raise FILES[name].refuse(file, f"it lacks {', '.join(sorted(lacking))}")
  # As in transformers, a mark within a text is that mark's id.
  marks = (_PAD, _UNK, _CLS, _SEP, _MASK)
  compiled.add_special_tokens([mark for mark in marks if mark in ids])
  return tokenizer.Tokenizer(
    tokenizer.Compiled.make(compiled),
    dataclasses.replace(
      rule,
      num_tokens=num_tokens,
      pad_id=ids[_PAD],
      bos_id=ids[_CLS],
      eos_id=None if rule.eos_id is None else ids[_SEP],
    ),
  )


def _read(file: pathlib.Path, name: str) -> dict[str, int]:
  try:
    text = file.read_text("utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise FILES[name].refuse(file, error) from error
  # Not splitlines(): it splits at U+2028, which a vocabulary may contain.
  lines = text.removesuffix("\n").split("\n")
  return {line: i for i, line in enumerate(lines)}


MAKERS = {
  name: from_file.maker(functools.partial(load, name=name), files)
  for name, files in FILES.items()
}
