"""Retrieval sets of what `evaluate.holdout` keeps out of training."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from evaluators import embedding
from evaluators.sets import kinds
from input_pipeline import evaluation_split

NAME = "holdout"


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Key of the examples that evaluate.holdout keeps out of training.

  Attributes:
    names: names of their sources in data.sources.
    share: evaluate.holdout.
  """

  names: tuple[str, ...]
  share: float

  def alone(self) -> list["HeldOut"]:
    """Return the key of each source alone."""
    return [dataclasses.replace(self, names=(name,)) for name in self.names]


@dataclasses.dataclass(frozen=True)
class Section:
  """Section of such a set; see retrieval.RetrievalConfig."""

  source: HeldOut
  metrics: tuple[str, ...] = kinds.RETRIEVAL_METRICS
  reweight: str = ""

  @property
  def key(self) -> HeldOut:
    """Key of the examples."""
    return self.source


def sections(share: float, names: Sequence[str]) -> dict[str, Section]:
  """Return the sets by name: one of all sources, and one of each of several.

  Args:
    share: evaluate.holdout.
    names: names of the sources.
  """
  if not share:
    return {}
  names = sorted(names)
  by_name = {NAME: tuple(names)}
  if len(names) > 1:
    by_name |= {f"{NAME}_{name}": (name,) for name in names}
  return {name: Section(HeldOut(some, share)) for name, some in by_name.items()}


def is_name(name: str) -> bool:
  """Return whether a set of this name could be one of these."""
  return name == NAME or name.startswith(f"{NAME}_")


def joined(
  parts: Sequence[tuple[evaluation_split.Split, embedding.Examples]],
) -> embedding.Examples:
  """Return the embedded images of several sources as those of one split.

  An image that several sources have is one example, with the captions of all.

  Args:
    parts: split and embedded images of each source, in the order of
      HeldOut.names.
  """
  rows, keys, z_E = [], [], []
  texts: list[dict[str, tuple[str, ...]]] = []
  number: dict[bytes, int] = {}
  start = 0
  for split, part in parts:
    ids = split.image_ids
    assert ids is not None  # open_held_out
    for i, row in enumerate(part.rows):
      known = number.setdefault(ids[row], len(rows))
      if known == len(rows):
        rows.append(start + row)
        keys.append(part.keys[i])
        z_E.append(part.zimg_NE[i])
        texts.append({})
      for language, some in part.texts[i].items():
        every = (*texts[known].get(language, ()), *some)
        texts[known][language] = tuple(dict.fromkeys(every))
    start += len(split)
  return embedding.Examples(
    tuple(rows), tuple(keys), tuple(texts), np.stack(z_E)
  )
