"""The rule of `tokenizers` for ids 0 and 1, shared by all of them."""

from collections.abc import Iterable, Sequence

import numpy as np

PAD = 0
EOS = 1


def pad(sequences: Sequence[Sequence[int]], num_tokens: int) -> np.ndarray:
  """Return int32 [N, num_tokens]: each sequence cut, ended in EOS, padded."""
  ids = np.full((len(sequences), num_tokens), PAD, np.int32)
  for row, sequence in zip(ids, sequences, strict=True):
    kept = sequence[: num_tokens - 1]
    row[: len(kept)] = kept
    row[len(kept)] = EOS
  return ids


def unpad(ids: Iterable[int]) -> list[int]:
  """Return the ids before the first EOS or PAD."""
  kept = []
  for token in ids:
    if token in (PAD, EOS):
      break
    kept.append(int(token))
  return kept
