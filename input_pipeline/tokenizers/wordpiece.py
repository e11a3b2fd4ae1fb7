"""BERT's uncased WordPiece, from the user's vocab.txt or tokenizer.json.

Devlin et al., arXiv 1810.04805, section 3; google-research/bert,
tokenization.py: lower case without accents, punctuation and Chinese characters
alone, then the longest piece that fits.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from input_pipeline.tokenizers import rules, tokenizer, vocabulary

FILES = vocabulary.Files(
  "wordpiece",
  ("vocab.txt", "tokenizer.json"),
  "both are in folders of Hugging Face such as google-bert/bert-base-uncased, "
  "kakaobrain/align-base or sentence-transformers/all-MiniLM-L6-v2",
)

_PAD, _UNK, _CLS, _SEP, _MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


def make_tokenizer(
  texts: Callable[[], Sequence[str]],
  folder: pathlib.Path,
  *,
  languages: Sequence[str],
  vocab_size: int,
  num_tokens: int,
  path: str = "",
) -> tokenizer.Tokenizer:
  """Return BERT's tokenizer under rules.BERT, its vocabulary at `path`.

  Raises FileNotFoundError or ValueError for what is no such vocabulary.
  """
  del texts, folder, languages
  made = load(FILES.find(path), num_tokens)
  return tokenizer.check_size(made, "wordpiece", vocab_size)


def make_lit_tokenizer(
  texts: Callable[[], Sequence[str]],
  folder: pathlib.Path,
  *,
  languages: Sequence[str],
  vocab_size: int,
  num_tokens: int,
  path: str = "",
) -> tokenizer.Tokenizer:
  """Return BERT's tokenizer under rules.BERT_LIT: no token after the text."""
  made = make_tokenizer(
    texts,
    folder,
    languages=languages,
    vocab_size=vocab_size,
    num_tokens=num_tokens,
    path=path,
  )
  return dataclasses.replace(
    made, rule=dataclasses.replace(made.rule, eos_id=rules.BERT_LIT.eos_id)
  )


def load(
  file: pathlib.Path,
  num_tokens: int,
  *,
  lower_case: bool = True,
  strip_accents: bool | None = None,
  split_chinese: bool = True,
) -> tokenizer.Tokenizer:
  """Return BERT's tokenizer under rules.BERT; accents go with the case."""
  if file.suffix == ".json":
    try:
      compiled = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises no narrower class
      raise FILES.refuse(file, error) from error
  else:
    compiled = tokenizers.Tokenizer(
      models.WordPiece(
        vocab=_read(file),
        unk_token=_UNK,
        max_input_chars_per_word=100,  # as transformers
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
    raise FILES.refuse(file, f"it lacks {', '.join(sorted(lacking))}")
  # As in transformers, a mark within a text is that mark's id.
  marks = (_PAD, _UNK, _CLS, _SEP, _MASK)
  compiled.add_special_tokens([mark for mark in marks if mark in ids])
  return tokenizer.Tokenizer(
    tokenizer.Compiled.make(compiled),
    dataclasses.replace(
      rules.BERT,
      num_tokens=num_tokens,
      pad_id=ids[_PAD],
      bos_id=ids[_CLS],
      eos_id=ids[_SEP],
    ),
  )


def _read(file: pathlib.Path) -> dict[str, int]:
  try:
    text = file.read_text("utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise FILES.refuse(file, error) from error
  # Not splitlines(): a vocabulary may hold U+2028, which that takes for one.
  lines = text.removesuffix("\n").split("\n")
  return {line: i for i, line in enumerate(lines)}
