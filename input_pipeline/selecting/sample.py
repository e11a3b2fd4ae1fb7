"""Sample of records that is the same in any order of them and any process."""

import hashlib
from typing import Any

import numpy as np

from input_pipeline.sources import record as record_lib
from input_pipeline.storage import uids as uids_lib


class Sample:
  """Records at some rows of others."""

  def __init__(self, records: Any, rows: np.ndarray):
    """Choose records.

    Args:
      records: all records.
      rows: int64 [n], ascending.
    """
    self._records = records
    self.rows = rows

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, index: int) -> record_lib.Record:
    return self._records[int(self.rows[index])]

  def fingerprint(self) -> str:
    """Return hex digits that identify the records."""
    facts = self._records.fingerprint(), self.rows.tolist()
    return record_lib.digest(facts)

  def image_state(self) -> str:
    """Return the state of all images; see record.image_state."""
    return record_lib.image_state(self._records)


def rows(records: Any, image_ids: np.ndarray | None, num: int) -> np.ndarray:
  """Return the rows whose names have the lowest hashes: int64 [n], ascending.

  Args:
    records: all records.
    image_ids: names of their images, which come before UIDs; None without.
    num: number of rows.
  """
  if image_ids is not None:
    names = [bytes(x) for x in image_ids]
  else:
    # A UID of zeros is none.
    uids = uids_lib.sortable(records.uids())
    names = [bytes(x) or b"row %d" % i for i, x in enumerate(uids)]
  hashes = [
    hashlib.blake2b(name, digest_size=8, person=b"sample").digest()
    for name in names
  ]
  order = np.argsort(np.frombuffer(b"".join(hashes), ">u8"), kind="stable")
  return np.sort(order[:num])
