"""Tokens of captions: the Penn Treebank's by Java, or those of a pattern.

Published figures of captions have the Penn Treebank's tokens without
punctuation, by Stanford's tokenizer. Another tokenizer gives other figures,
whose names say so.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from evaluators.metrics.generation import coco_caption

PTB, REGEX = NAMES = ("ptb", "regex")
# Tokenizer -> end of a figure's name.
SUFFIXES: Mapping[str, str] = {PTB: "", REGEX: " (regex tokens)"}
# Tokenizer -> its definition, for protocols.
DEFINITIONS: Mapping[str, str] = {
  PTB: "PTBTokenizer of Stanford CoreNLP 3.4.1, lower case, no punctuation",
  REGEX: r"\w+(?:'\w+)*, lower case: ours",
}
_WORD = re.compile(r"\w+(?:'\w+)*")
# Ends of lines, as Java and Python see them.
_END_OF_LINE = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def check(tokens: str) -> None:
  """Raise where a tokenizer cannot be used, before the first caption is made.

  Raises:
    ValueError: there is no such tokenizer.
    FileNotFoundError: it needs Java, and there is none.
    ModuleNotFoundError: pycocoevalcap is not installed.
  """
  if tokens not in NAMES:
    raise ValueError(
      f"tokens must be one of {', '.join(NAMES)}; got {tokens!r}"
    )
  coco_caption.library()
  if tokens == PTB:
    coco_caption.check_java()


def tokenize(captions: Sequence[str], tokens: str = PTB) -> list[str]:
  """Return the tokens of each caption, joined by spaces.

  Args:
    captions: texts.
    tokens: one of NAMES.

  Raises:
    as `check`; RuntimeError where Java fails.

  >>> tokenize(["Two dogs aren't playing."], "regex")
  ["two dogs aren't playing"]
  """
  check(tokens)
  return _TOKENIZERS[tokens](captions)


def _ptb(captions: Sequence[str]) -> list[str]:
  lines = coco_caption.run_tokenizer(
    [_END_OF_LINE.sub(" ", caption) for caption in captions]
  )
  punctuation = frozenset(coco_caption.library().ptb.PUNCTUATIONS)
  return [
    " ".join(
      word for word in line.rstrip().split(" ") if word not in punctuation
    )
    for line in lines
  ]


def _regex(captions: Sequence[str]) -> list[str]:
  return [" ".join(_WORD.findall(caption.lower())) for caption in captions]


_TOKENIZERS: Mapping[str, Callable[[Sequence[str]], list[str]]] = {
  PTB: _ptb,
  REGEX: _regex,
}
