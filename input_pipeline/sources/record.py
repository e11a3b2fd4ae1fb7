"""Records, the examples of every source, and their UIDs."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

import numpy as np

# UID of 128 bits in two halves, high and low, as in DataComp's subset files.
UID = np.dtype([("f0", "<u8"), ("f1", "<u8")])

_HEX = re.compile("[0-9a-f]{32}")


@dataclasses.dataclass(frozen=True)
class Record:
  """One example as it is stored.

  Attributes:
    key: name of the example in its source.
    image: encoded image, in any format of `image_ops.decode`.
    texts: language (ISO 639-1, "und" if unknown) -> captions.
  """

  key: str
  image: bytes
  texts: Mapping[str, tuple[str, ...]]


class Records(Protocol):
  """Examples of one source, in an order that does not change.

  Can be pickled (worker processes open the files again) and be read by
  several threads at once.
  """

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Record:
    """Return a record; raise faults.ExampleError if it cannot be read."""
    ...

  def fingerprint(self) -> str:
    """Return hex digits that identify the content, without reading it.

    They may be computed from names, sizes and times of change.
    """
    ...

  def uids(self) -> np.ndarray:
    """Return a UID [N] for each example, in order; may read every record."""
    ...


def digest(facts: object) -> str:
  """Return 32 hex digits that identify plain values: numbers, texts, tuples.

  Values are compared by their repr, which must be the same in every process.
  """
  return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def uid(key: str) -> tuple[int, int]:
  """Return the halves of a key's UID: its own 32 hex digits, or its hash."""
  if not _HEX.fullmatch(key):
    key = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
  return int(key[:16], 16), int(key[16:], 16)


def uid_hex(uid: np.void) -> str:
  """Return the 32 hex digits of one UID of an array."""
  return f"{int(uid[0]):016x}{int(uid[1]):016x}"
