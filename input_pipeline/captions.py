"""Which of an example's texts is its caption in this step."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline import faults


def choose(
  texts: Mapping[str, Sequence[str]],
  languages: Sequence[str],
  rng: np.random.Generator,
) -> str:
  """Return a text of one of `languages`, each as probable as the others.

  One of several texts in that language is drawn. A language that the example
  has no text in is left out; faults.ExampleError when none is left.
  """
  present = [language for language in languages if texts.get(language)]
  if not present:
    raise faults.ExampleError(
      "caption_missing",
      f"no text in any of data.languages={tuple(languages)}; the example has "
      f"{tuple(texts)}",
    )
  found = texts[present[int(rng.integers(len(present)))]]
  return found[int(rng.integers(len(found)))]


def label(text: str) -> np.int32:
  """Return a number that stands for this text, the same in every process.

  Two texts share a number with probability 2**-32: in a batch of 24,576 one
  false pair of 300 million is expected every 14 batches.
  """
  return np.uint32(zlib.crc32(text.encode())).view(np.int32)
