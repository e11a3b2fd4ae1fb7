"""Digest of the pairs read, so that a selection can be checked years later."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from input_pipeline.storage import uids as uids_lib


class ContentDigest:
  """Digest of UIDs and texts that does not depend on how tables are cut."""

  def __init__(self) -> None:
    self._uids = hashlib.sha256()
    self._lengths = hashlib.sha256()
    self._texts = hashlib.sha256()

  def add(self, table: pa.Table) -> None:
    """Add the pairs of a table, in order."""
    self._uids.update(uids_lib.column_bytes(table["uid"]).data)
    if "text" not in table.column_names:
      return
    # Lengths in bytes; -1 tells a null from an empty text.
    lengths = pc.call_function("binary_length", [table["text"]]).fill_null(-1)
    self._lengths.update(lengths.to_numpy().astype("<i8").tobytes())
    for chunk in table["text"].chunks:
      if not len(chunk) or chunk.null_count == len(chunk):
        continue
      if chunk.null_count:
        chunk = chunk.drop_null()
      width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
      _, offsets, data = chunk.buffers()
      bounds = np.frombuffer(offsets, width)[chunk.offset :]
      self._texts.update(memoryview(data)[bounds[0] : bounds[len(chunk)]])

  def hexdigest(self) -> str:
    """Return SHA-256 of the digests of UIDs, lengths and texts."""
    parts = (self._uids, self._lengths, self._texts)
    return hashlib.sha256(b"".join(p.digest() for p in parts)).hexdigest()
