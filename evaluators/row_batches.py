"""Batches of images or texts that are ready for their tower."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from models import naflex

# One image or text, ready for its tower; patches and their shape for NaFlex.
Row = np.ndarray | tuple[np.ndarray, np.ndarray]
# Rows computed at once: enough to keep a CPU's cores busy.
BATCH_SIZE = 32


def batches(rows: Iterator[Row], size: int) -> Iterator[Any]:
  """Yield rows stacked by at most `size`, as Embedder.stream takes them."""
  while batch := list(itertools.islice(rows, size)):
    if isinstance(batch[0], tuple):  # input_pipeline.images.naflex.Protocol
      parts: Any = map(np.stack, zip(*batch, strict=True))
      yield naflex.Patches(*parts)
    else:
      yield np.stack(batch)
