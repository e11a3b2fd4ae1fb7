"""Byte-pair encoding over words, trained on the captions of a run.

Byte-pair encoding: Sennrich et al., arXiv 1508.07909; over bytes, so that no
character is unknown: Radford et al., GPT-2 (2019), section 2.2.
"""

import json
import pathlib
from collections.abc import Callable, Sequence

import tokenizers
from tokenizers import (
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  trainers,
)

from input_pipeline.tokenizers import rules, tokenizer
from runtime.storage import whole_files

# Version to increase when training changes; part of the file's name.
RULE_VERSION = 1

# Words are letters, marks, digits, hyphens, apostrophes and full stops, with
# the space before them: "medium-dark" and "l’eau" can become one token each.
# All other characters stand alone, so that "(blood" never does.
_WORD = r" ?[\p{L}\p{M}\p{N}\-'’.]+| ?[^\s\p{L}\p{M}\p{N}\-'’.]|\s+"


def make_tokenizer(
  texts: Callable[[], Sequence[str]],
  folder: pathlib.Path,
  *,
  languages: Sequence[str],
  vocab_size: int,
  num_tokens: int,
  path: str = "",
) -> tokenizer.Tokenizer:
  """Return the tokenizer trained on `texts()`, cached as a file in `folder`.

  `languages`, those of the texts, are part of the file's name. Raises
  ValueError for a vocabulary smaller than all bytes, OSError when the file
  cannot be written.
  """
  del path
  smallest = 256 + 2
  if vocab_size < smallest:
    raise ValueError(
      f'data.tokenizer="bpe" needs data.vocab_size of at least {smallest} '
      f"(all bytes, padding, end of text); got {vocab_size}"
    )
  name = "-".join(sorted(languages))
  file = folder / f"bpe-{name}-{vocab_size}-rule{RULE_VERSION}.json"
  if not file.exists():
    text = train(texts(), vocab_size).to_str(pretty=True)
    try:
      folder.mkdir(parents=True, exist_ok=True)
      whole_files.write(file, text.encode())
    except OSError as error:
      raise OSError(
        f"cannot write the tokenizer: {error}. Free some space there, or set "
        "data.cache_dir to another folder."
      ) from error
  try:
    # Without added tokens, so that "<eos>" in a caption is text.
    values = json.loads(file.read_text("utf-8")) | {"added_tokens": []}
    trained = tokenizers.Tokenizer.from_str(json.dumps(values))
  except Exception as error:  # the package raises no narrower class
    raise ValueError(f"{file} is no tokenizer, remove it: {error}") from error
  # Decoding strips the space that training puts before the first word.
  trained.decoder = decoders.Sequence(
    [decoders.ByteLevel(), decoders.Strip(content=" ", left=1, right=0)]
  )
  return tokenizer.Tokenizer(
    tokenizer.Compiled.make(trained), rules.run(num_tokens)
  )


def train(texts: Sequence[str], vocab_size: int) -> tokenizers.Tokenizer:
  """Return a tokenizer of at most `vocab_size` entries; deterministic."""
  trained = tokenizers.Tokenizer(models.BPE())
  # The space before the first word makes it the same token as elsewhere.
  trained.normalizer = normalizers.Sequence(
    [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Prepend(" ")]
  )
  trained.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(tokenizers.Regex(_WORD), "isolated"),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  trained.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=["<pad>", "<eos>"],  # ids 0 and 1
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  trained.train_from_iterator(texts, trainer)
  return trained
