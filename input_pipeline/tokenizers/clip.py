"""CLIP's byte-pair encoding of 49,408 entries, from the user's file.

Radford et al., arXiv 2103.00020, section 2.4. The vocabulary follows from the
list of merges alone: 256 bytes inside a word, 256 at its end, one entry for
each merge, and the marks of a text's start and end.
"""

import dataclasses
import gzip
import json
import pathlib
from collections.abc import Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from input_pipeline.tokenizers import (
  from_file,
  rules,
  tokenizer,
  vocabulary,
)

FILES = vocabulary.Files(
  "clip",
  ("bpe_simple_vocab_16e6.txt.gz", "merges.txt", "tokenizer.json"),
  "the first is in OpenAI's repository CLIP and in the package open_clip_torch "
  "(folder open_clip), the others in folders of Hugging Face such as "
  "openai/clip-vit-base-patch32",
)

# Merges used, for 49,408 entries in all; the published list is longer.
_NUM_MERGES = 49_408 - 2 * 256 - 2

# Marks of open_clip, recognised within captions; the file contains none.
_MARKS = ("<start_of_text>", "<end_of_text>")
_MARKS_HF = ("<|startoftext|>", "<|endoftext|>")

# Endings of English words, letters, single digits, all else except spaces. The
# original pattern ignores case: the long s (U+017F) thus is an s, and the Greek
# iota below a letter (U+0345), a mark whose capital is a letter, matches
# nothing and is dropped. Letters are defined by the Unicode version of the
# package.
_WORD = (
  r"'[s\u017F]|'t|'re|'ve|'m|'ll|'d"
  r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\u0345]+"
)
_WORD_HF = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclasses.dataclass(frozen=True)
class Clip:
  """Codec of open_clip, which encodes a mark within a caption as its id."""

  compiled: tokenizer.Compiled
  split: pre_tokenizers.PreTokenizer

  @property
  def vocab_size(self) -> int:
    """Return the number of entries."""
    return self.compiled.vocab_size

  @property
  def unk_id(self) -> int | None:
    """Return None: every text can be encoded from bytes."""
    return self.compiled.unk_id

  def encode(self, text: str) -> list[int]:
    """Return the ids of a cleaned text."""
    if not any(mark in text for mark in _MARKS):
      return self.compiled.encode(text)
    ids = []
    for word, _ in self.split.pre_tokenize_str(text):
      if word in _MARKS:
        ids.append(self.vocab_size - len(_MARKS) + _MARKS.index(word))
      else:
        ids.extend(self.compiled.encode(word))
    return ids

  def decode(self, ids: list[int]) -> str:
    """Return the text, with a space after every word."""
    return self.compiled.decode(ids).replace("</w>", " ").strip()


def codec(compiled: tokenizer.Compiled) -> Clip:
  """Return open_clip's codec over CLIP's vocabulary."""
  return Clip(compiled, _split("|".join([*_MARKS, _WORD])))


def load(file: pathlib.Path, num_tokens: int) -> tokenizer.Tokenizer:
  """Return CLIP's tokenizer under open_clip's rule, rules.CLIP."""
  entries, merges = _entries(file, _MARKS)
  compiled = tokenizers.Tokenizer(_bpe(entries, merges))
  compiled.pre_tokenizer = pre_tokenizers.Sequence(
    [_split(_WORD), pre_tokenizers.ByteLevel(False, use_regex=False)]
  )
  compiled.decoder = decoders.ByteLevel()
  bos, eos = (entries[mark] for mark in _MARKS)
  return tokenizer.Tokenizer(
    codec(tokenizer.Compiled.make(compiled)),
    dataclasses.replace(
      rules.CLIP, num_tokens=num_tokens, bos_id=bos, eos_id=eos
    ),
  )


def load_hf(
  file: pathlib.Path, num_tokens: int, *, pad: str | None = None
) -> tokenizer.Tokenizer:
  """Return CLIP's tokenizer under transformers' rule, rules.CLIP_HF.

  `pad` is the padding token in the folder's files; None or unknown: the end of
  text.
  """
  entries, merges = _entries(file, _MARKS_HF)
  entries = _ids_beside(file, entries)
  compiled = tokenizers.Tokenizer(_bpe(entries, merges))
  compiled.normalizer = normalizers.Sequence(
    [
      normalizers.NFC(),
      normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
      normalizers.Lowercase(),
    ]
  )
  compiled.pre_tokenizer = pre_tokenizers.Sequence(
    [
      _split(_WORD_HF),
      pre_tokenizers.ByteLevel(False, use_regex=False),
    ]
  )
  compiled.decoder = decoders.Sequence(
    [
      decoders.ByteLevel(),
      decoders.Replace("</w>", " "),
      decoders.Strip(content=" ", left=0, right=1),
    ]
  )
  compiled.add_special_tokens([*_MARKS_HF, *([pad] if pad in entries else [])])
  bos, eos = (entries[mark] for mark in _MARKS_HF)
  return tokenizer.Tokenizer(
    tokenizer.Compiled.make(compiled),
    dataclasses.replace(
      rules.CLIP_HF,
      num_tokens=num_tokens,
      bos_id=bos,
      eos_id=eos,
      pad_id=entries.get(pad or "", eos),
    ),
  )


def read_merges(file: pathlib.Path) -> list[tuple[str, str]]:
  """Return the pairs of a list of merges, cut to those that CLIP uses."""
  try:
    if file.suffix == ".json":
      merges = json.loads(file.read_text("utf-8"))["model"]["merges"]
      lines = [m if isinstance(m, str) else " ".join(m) for m in merges]
      is_list = True
    else:
      read = gzip.open if file.suffix == ".gz" else open
      with read(file, "rt", encoding="utf-8", newline="\n") as stream:
        # The first line is a version.
        version, *lines = stream.read().split("\n")
      is_list = version.startswith("#version")
  except (
    OSError,
    UnicodeDecodeError,
    KeyError,
    TypeError,
    ValueError,
  ) as error:
    raise FILES.refuse(file, error) from error
  pairs = []
  for line in lines[:_NUM_MERGES]:
    if line:
      pair = line.split()
      if len(pair) != 2:
        raise FILES.refuse(file, f"a merge is two pieces; got {line!r}")
      pairs.append((pair[0], pair[1]))
  # A vocabulary of bytes alone has no merges.
  if not pairs and not is_list:
    raise FILES.refuse(file, "it has no merges")
  return pairs


def _entries(
  file: pathlib.Path, marks: Sequence[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
  merges = read_merges(file)
  letters = _byte_letters()
  entries = [
    *letters,
    *(letter + "</w>" for letter in letters),
    *("".join(pair) for pair in merges),
    *marks,
  ]
  ids = {entry: i for i, entry in enumerate(entries)}
  pieces = {piece for pair in merges for piece in pair}
  if len(ids) != len(entries) or not pieces <= ids.keys():
    raise FILES.refuse(file, "its merges do not build on each other")
  return ids, merges


def _ids_beside(file: pathlib.Path, ids: dict[str, int]) -> dict[str, int]:
  """Return the ids of vocab.json beside the merges, `ids` without one."""
  vocab = file.with_name("vocab.json")
  if not vocab.is_file():
    return ids
  try:
    entries = json.loads(vocab.read_text("utf-8-sig"))
    got = {str(entry): int(number) for entry, number in entries.items()}
  except (OSError, ValueError, AttributeError, TypeError) as error:
    raise FILES.refuse(vocab, error) from error
  if lacking := [entry for entry in ids if entry not in got]:
    raise FILES.refuse(vocab, f"it lacks {lacking[0]!r}, which a merge makes")
  return got


def _bpe(ids: dict[str, int], merges: list[tuple[str, str]]) -> models.BPE:
  return models.BPE(vocab=ids, merges=merges, end_of_word_suffix="</w>")


def _byte_letters() -> list[str]:
  """Return a printable letter for each byte, in the order of their ids."""
  printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
  letters = [chr(byte) for byte in printable]
  return letters + [chr(0x100 + i) for i in range(256 - len(printable))]


def _split(words: str) -> pre_tokenizers.PreTokenizer:
  return pre_tokenizers.Split(
    tokenizers.Regex(words), behavior="removed", invert=True
  )


make_tokenizer = from_file.maker(load, FILES)
