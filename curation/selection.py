"""The file of kept UIDs: sorted, of dtype "u8,u8", as DataComp publishes its.

Training reads it as `data.sources.NAME.subset`, DataComp's resharder as it is.
"""

import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from curation import hashing, stage
from input_pipeline import atomic_file
from input_pipeline.sources import record


def write(parts: Sequence[pathlib.Path], path: pathlib.Path) -> tuple[int, str]:
  """Write the UIDs that the last stage's files keep; each once.

  Args:
    parts: of the last stage, in any order.
    path: of the .npy file.

  Returns:
    How many, and the SHA-256 of the sorted UIDs, 16 little-endian bytes each.
  """
  found = [np.zeros(0, record.UID)]
  for part in parts:
    column = stage.alive(part, ["uid"])["uid"].combine_chunks()
    data = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
    high, low = hashing.halves(data.reshape(-1, 16))
    uids = np.empty(len(high), record.UID)
    uids["f0"], uids["f1"] = high, low
    found.append(uids)
  uids = np.unique(np.concatenate(found))
  temporary = path.with_name(f".{path.name}.tmp.npy")
  np.save(temporary, uids, allow_pickle=False)
  atomic_file.write(path, temporary.read_bytes())
  temporary.unlink()
  return len(uids), hashlib.sha256(uids.tobytes()).hexdigest()
