"""Labels and templates that flags name; imports no JAX."""

import collections
import csv
import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from evaluators.sets import names

PLAIN = ("{}",)
# Labels that facts list; of more, they have the number and the digest.
_NUM_LISTED = 1000


@dataclasses.dataclass(frozen=True)
class Labels:
  """Labels, and the texts that stand for each.

  Attributes:
    names: A labels, each once.
    templates: texts with one {} in place of a label.
    background: whole texts of what else a picture may show; see scores.py.
    origin: value of --labels that the names are from.
  """

  names: tuple[str, ...]
  templates: tuple[str, ...] = PLAIN
  background: tuple[str, ...] = ()
  origin: str = ""

  def texts(self) -> dict[str, list[str]]:
    """Return all that decides the embeddings, as values for JSON."""
    return {
      "labels": list(self.names),
      "templates": list(self.templates),
      "background": list(self.background),
    }

  def facts(self) -> dict[str, Any]:
    """Return `texts`, a list of very many labels by its digest alone."""
    texts: dict[str, Any] = self.texts()
    if len(self.names) > _NUM_LISTED:
      texts["labels"] = None
    content = "\0".join(self.names).encode()
    return texts | {
      "num_labels": len(self.names),
      "labels_digest": hashlib.blake2b(content, digest_size=16).hexdigest(),
      "labels_from": self.origin,
    }


def listed(value: str, flag: str) -> list[str]:
  """Return the texts of a flag: of a file, a line each, or given themselves.

  Args:
    value: file, or texts separated by commas; '"a, b",c' are two.
    flag: name of the flag, for messages.

  Raises:
    ValueError: there is none, the file cannot be read, one of them is empty, or
      is there twice.
  """
  if not value.strip():
    raise ValueError(
      f'--{flag} is missing: --{flag}=FILE with one a line, or --{flag}="a,b"'
    )
  path = pathlib.Path(value).expanduser()
  if is_file(path):
    found, place = _lines(path, flag), "line"
  elif path.suffix in (".txt", ".csv", ".tsv", ".json") or path.is_dir():
    raise ValueError(
      f"--{flag}={value} is no file; expected a file with one a line, or the"
      " texts themselves, separated by commas"
    )
  else:
    found, place = next(csv.reader([value], skipinitialspace=True)), "item"
  found = [text.strip() for text in found]
  shown = f"--{flag}={value}"
  if "" in found:
    raise ValueError(
      f"{shown}: {place} {found.index('') + 1} of {len(found)} is empty"
    )
  if len({*found}) < len(found):
    twice = collections.Counter(found).most_common(1)[0][0]
    at = [str(n) for n, text in enumerate(found, 1) if text == twice]
    raise ValueError(
      f"{shown}: {twice!r} is there {len(at)} times ({place}s"
      f" {', '.join(at[:5])}); expected each once"
    )
  return found


def templates(value: str) -> tuple[str, ...]:
  """Return the templates of --templates; PLAIN for "".

  Args:
    value: file with one a line, one template itself, or a set whose templates
      ship with the code (evaluators/sets/names.py), as imagenet1k. A label is
      at {}, or at {c} as in files of such sets.

  Raises:
    ValueError: a template has not one place for the label.
  """
  if not value:
    return PLAIN
  if is_file(pathlib.Path(value).expanduser()):
    found = listed(value, "templates")
  elif "{" in value:
    found = [value]
  else:
    found = list(names.templates(value))
    if not found:
      raise ValueError(
        f"--templates={value} is no file, no template (which has {{}} for the"
        " label), and no set with templates, such as imagenet1k or cifar10"
      )
  found = [text.replace("{c}", "{}") for text in found]
  for text in found:
    if text.count("{}") != 1:
      raise ValueError(
        f"--templates={value}: each must have one {{}}, in place of the label;"
        f" got {text!r}"
      )
  return tuple(found)


def unknown(found: Mapping[str, int], known: Sequence[str]) -> str:
  """Return the end of a message about values that are no labels."""
  shown = ", ".join(f"{name!r} ({num:,})" for name, num in [*found.items()][:5])
  more = ", ..." if len(found) > 5 else ""
  labels = ", ".join(map(repr, known[:5])) + (", ..." if len(known) > 5 else "")
  return f"{len(found)} that are no labels: {shown}{more}; labels are {labels}"


def is_file(path: pathlib.Path) -> bool:
  """Return whether a file is there; a long text is none."""
  try:
    return path.is_file()
  except OSError:
    return False


def _lines(path: pathlib.Path, flag: str) -> list[str]:
  try:
    # Not splitlines, which also breaks at characters that a text may hold.
    return path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
  except UnicodeDecodeError as error:
    raise ValueError(f"--{flag}={path} is not UTF-8: {error}") from error
