"""Which of an example's texts is its caption in this step."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def choose(
  texts: Mapping[str, str],
  languages: Sequence[str],
  rng: np.random.Generator,
) -> str:
  """Return the text of one of `languages`, each as probable as the others.

  A language that the example has no text in is left out; ValueError when
  none is left.
  """
  present = [language for language in languages if language in texts]
  if not present:
    raise ValueError(
      f"no text in any of data.languages={tuple(languages)}; the example has "
      f"{tuple(texts)}"
    )
  return texts[present[rng.integers(len(present))]]


def label(text: str) -> np.int32:
  """Return a number that stands for this text, the same in every process.

  Two texts share a number with probability 2**-32: in a batch of 24,576 one
  false pair of 300 million is expected every 14 batches.
  """
  return np.uint32(zlib.crc32(text.encode())).view(np.int32)
