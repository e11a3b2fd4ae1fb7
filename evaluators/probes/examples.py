"""Labelled features, and the order of examples by a hash of their UIDs.

Shape letters: N examples, D features.
"""

import dataclasses
import hashlib

import numpy as np

from input_pipeline.storage import uids
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Examples:
  """Features of images with one label each.

  Attributes:
    x_ND: float features.
    label_N: integer labels, 0 to the number of classes - 1.
    uid_N: UIDs in any form of input_pipeline/storage/uids.py. Examples of
      equal UIDs are taken in their order.
  """

  x_ND: np.ndarray
  label_N: np.ndarray
  uid_N: np.ndarray

  def check(self, field: str, num_classes: int) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    x, label = np.asarray(self.x_ND), np.asarray(self.label_N)
    if x.ndim != 2 or not len(x) or not np.issubdtype(x.dtype, np.floating):
      checks.refuse(
        f"{field}.x_ND must be floats [N, D] of at least one example; got "
        f"{x.dtype} {list(x.shape)}"
      )
      return
    for name, value in (("label_N", label), ("uid_N", self.uid_N)):
      if len(value) != len(x):
        checks.refuse(
          f"{field}.{name} must have {len(x)} rows, as x_ND; got {len(value)}"
        )
        return
    wrong = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if wrong.size:
      checks.refuse(
        f"{field}.x_ND must be finite; got {wrong.size} rows that are not, the "
        f"first is row {wrong[0]}"
      )
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
      checks.refuse(
        f"{field}.label_N must be integers [N]; got {label.dtype} "
        f"{list(label.shape)}"
      )
      return
    wrong = np.flatnonzero((label < 0) | (label >= num_classes))
    if wrong.size:
      checks.refuse(
        f"{field}.label_N must be in [0, {num_classes}); got "
        f"{label[wrong[0]]} in row {wrong[0]}"
      )

  def take(self, index: np.ndarray) -> "Examples":
    """Return the examples of an index or a mask."""
    return Examples(self.x_ND[index], self.label_N[index], self.uid_N[index])


def joined(first: Examples, second: Examples) -> Examples:
  """Return the examples of both."""
  return Examples(
    np.concatenate([first.x_ND, second.x_ND]),
    np.concatenate([first.label_N, second.label_N]),
    np.concatenate([uids.as_bytes(e.uid_N) for e in (first, second)]),
  )


def by_hash(examples: Examples, purpose: str) -> list[np.ndarray]:
  """Return the rows of each class present, in the order of their UIDs' hash.

  The order is that of 8 bytes of BLAKE2b of the UID, keyed by `purpose`: it
  does not depend on the order of the examples, and is another for another
  purpose. Classes ascend.
  """
  key = purpose.encode()
  hash_N = np.array(
    [
      int.from_bytes(
        hashlib.blake2b(uid.tobytes(), digest_size=8, key=key).digest()
      )
      for uid in uids.as_bytes(examples.uid_N)
    ],
    np.uint64,
  )
  order = np.argsort(hash_N, kind="stable")
  label = examples.label_N[order]
  return [order[label == value] for value in np.unique(label)]


def hold_out(examples: Examples, share: float) -> np.ndarray:
  """Return bool [N]: the same share of each class, chosen by hash.

  A class keeps at least one example, and gives at least one of two or more.
  """
  is_held = np.zeros(len(examples.label_N), bool)
  for rows in by_hash(examples, "hold out"):
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    is_held[rows[:count]] = True
  return is_held
