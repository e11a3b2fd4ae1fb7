"""UIDs of columns of keys."""

import numpy as np
import pyarrow as pa

from curation import pool
from curation.pools import key_columns
from input_pipeline.storage import uids as uids_lib


def test_uids_of_keys_are_those_of_record(tmp_path):
  rng = np.random.default_rng(0)
  texts = [rng.bytes(16).hex() for _ in range(20)]
  texts[3] = texts[3].upper()  # hashed, as everything that is not lower-case
  texts[5:8] = ["", "short", "é" * 16]
  expected = [uids_lib.uid(text or "other 5") for text in texts]
  for kind in (pa.string(), pa.large_string()):
    column = pa.array([None, *texts], kind)[1:]
    found = key_columns.of_keys(column, lambda place: f"other {place}")
    assert found.tolist() == expected
  data = [bytes.fromhex(text) for text in texts[8:]]
  for kind in (pa.binary(), pa.binary(16), pa.large_binary()):
    found = key_columns.of_keys(pa.array([None, *data], kind)[1:])
    assert found.tolist() == expected[8:]
  numbers = key_columns.of_keys(pa.array([7, 8]))
  assert numbers.tolist() == [uids_lib.uid("7"), uids_lib.uid("8")]
  column = pool.uid_column(numbers)
  table = pa.table({"uid": pa.chunked_array([column[:1], column[1:]])})
  assert pool.uids(table.slice(1)).tolist() == [uids_lib.uid("8")]
  assert column[0].as_py().hex() == "".join(
    f"{half:016x}" for half in uids_lib.uid("7")
  )
