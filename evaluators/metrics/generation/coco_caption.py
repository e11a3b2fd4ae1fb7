"""Library of COCO's caption evaluation: pycocoevalcap, and its Java programs.

Its code is that of github.com/tylin/coco-caption in Python 3, which the figures
of papers are computed by; its last release is of 2020. The header of its BLEU
forbids redistribution and commercial use: nothing of it is copied here.

Its SPICE is left out: it downloads a parser when it is first used, and asks for
Java 8.
"""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

# Separator of the fields that METEOR reads.
_SEPARATOR = "|||"
# Last line that the tokenizer reads: a token in lower case.
_END = "end"


class Library(NamedTuple):
  """Modules of pycocoevalcap."""

  bleu: Any
  cider: Any
  rouge: Any
  meteor: Any
  ptb: Any


def library() -> Library:
  """Return pycocoevalcap's modules.

  Raises:
    ModuleNotFoundError: it is not installed; names the file of requirements.
  """
  try:
    from pycocoevalcap.bleu import bleu_scorer
    from pycocoevalcap.cider import cider
    from pycocoevalcap.meteor import meteor
    from pycocoevalcap.rouge import rouge
    from pycocoevalcap.tokenizer import ptbtokenizer
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "figures of captions need pycocoevalcap: pip install -r "
      "requirements-evaluation.txt",
      name=error.name,
    ) from error
  return Library(bleu_scorer, cider, rouge, meteor, ptbtokenizer)


def version() -> str:
  """Return name and version of the library, for protocols."""
  return f"pycocoevalcap {importlib.metadata.version('pycocoevalcap')}"


def check_java() -> str:
  """Return the path of Java.

  Raises:
    FileNotFoundError: there is none.
  """
  if found := shutil.which("java"):
    return found
  raise FileNotFoundError(
    'tokens="ptb" needs Java, which is not on PATH (Debian: apt-get install'
    ' default-jre-headless); tokens="regex" needs none, and its figures have'
    " other names"
  )


def run_tokenizer(lines: list[str]) -> list[str]:
  """Return each line's Penn Treebank tokens in lower case, joined by spaces.

  The library's own call loses its place where a caption has another end of
  line than "\\n", and writes into its own folder; this one does neither.

  Args:
    lines: texts without ends of lines.

  Raises:
    RuntimeError: Java fails, or returns another number of lines.
  """
  java, ptb = check_java(), library().ptb
  # A last line that is not empty, since empty ones at the end are dropped.
  content = "\n".join([*lines, _END])
  done = subprocess.run(
    (
      *(java, "-cp", ptb.STANFORD_CORENLP_3_4_1_JAR),
      *("edu.stanford.nlp.process.PTBTokenizer", "-preserveLines"),
      *("-lowerCase", "-encoding", "UTF-8"),
    ),
    cwd=os.path.dirname(os.path.abspath(ptb.__file__)),
    input=content.encode("utf-8", "replace"),
    capture_output=True,
  )
  tokenized = done.stdout.decode("utf-8", "replace").rstrip("\n").split("\n")
  is_whole = len(tokenized) == len(lines) + 1 and tokenized[-1] == _END
  if done.returncode or not is_whole:
    said = done.stderr.decode("utf-8", "replace").strip()[-200:]
    raise RuntimeError(
      f"the PTB tokenizer must return {len(lines) + 1} lines, the last"
      f" {_END!r}; got {len(tokenized)} and exit status {done.returncode}:"
      f" {said}"
    )
  return tokenized[:-1]


def run_meteor(captions: list[str], references: list[list[str]]) -> float:
  """Return METEOR 1.5 of captions, by a Java process of at most 2 GiB.

  Args:
    captions: tokens of each caption, joined by spaces.
    references: the same of the references of each caption.

  Raises:
    RuntimeError: Java fails.
  """
  check_java()
  by_number = {i: [_plain(x)] for i, x in enumerate(captions)}
  truth = {i: [_plain(x) for x in some] for i, some in enumerate(references)}
  with _meteor() as scorer:
    try:
      score, _ = scorer.compute_score(truth, by_number)
    except (OSError, ValueError) as error:
      raise RuntimeError(
        "METEOR must return a score of each caption; its Java process failed:"
        f" {type(error).__name__}: {error}"
      ) from error
  return float(score)


def _plain(text: str) -> str:
  """Return a text that METEOR reads as one field with at least a word."""
  return text.replace(_SEPARATOR, " ").strip() or "."


@contextlib.contextmanager
def _meteor() -> Iterator[Any]:
  """Yield the library's METEOR, and end its process."""
  scorer = library().meteor.Meteor()
  process = scorer.meteor_p
  try:
    yield scorer
  finally:
    if scorer.lock.locked():  # as it is after a failure
      scorer.lock.release()
    process.kill()
    process.stdout.close()
    process.stderr.close()
    with contextlib.suppress(OSError):
      process.stdin.close()
    process.wait()
