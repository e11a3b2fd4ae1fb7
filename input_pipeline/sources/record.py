"""What every source gives: records, and what names them."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

import numpy as np

# A 128-bit name in two halves, high and low: DataComp's form of subset files.
UID = np.dtype([("f0", "<u8"), ("f1", "<u8")])

_HEX = re.compile("[0-9a-f]{32}")


@dataclasses.dataclass(frozen=True)
class Record:
  """One example as it is stored.

  Attributes:
    key: names it in its source.
    image: an encoded image, in any format of `image_ops.decode`.
    texts: language (ISO 639-1, "und" where nobody knows) -> captions.
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
    """Return one; raise faults.ExampleError for one that cannot be read."""
    ...

  def fingerprint(self) -> str:
    """Return hex digits that stand for the content, found without reading it.

    Of names, sizes and times of change, say.
    """
    ...

  def uids(self) -> np.ndarray:
    """Return a UID [N] for each example, in order; may read every record."""
    ...


def digest(facts: object) -> str:
  """Return 32 hex digits that stand for plain values: numbers, texts, tuples.

  They are told apart by their repr, so not to be used where that is not the
  same in every process.
  """
  return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def uid(key: str) -> tuple[int, int]:
  """Return the halves of a key's UID: of its 32 hex digits, or of its hash."""
  if not _HEX.fullmatch(key):
    key = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
  return int(key[:16], 16), int(key[16:], 16)


def uid_hex(uid: np.void) -> str:
  """Return the 32 hex digits of one UID of an array."""
  return f"{int(uid[0]):016x}{int(uid[1]):016x}"
