"""UIDs in their forms, and look-ups in sorted UIDs on disk."""

import numpy as np
import pyarrow as pa
import pytest

from input_pipeline.storage import uids as uids_lib


def make_uids(rng, num, num_highs):
  uids = np.empty(num, uids_lib.UID)
  uids["f0"] = rng.integers(0, num_highs, num) << 40
  uids["f1"] = rng.integers(0, 2**63, num)
  return uids


# UIDs with one high half, with several, and with one each.
@pytest.mark.parametrize("num_highs", [1, 5, 2**20])
@pytest.mark.parametrize("num", [1, 2, 7, 300])
def test_finds_what_searchsorted_finds(num, num_highs, monkeypatch):
  monkeypatch.setattr(uids_lib, "STRIDE", 4)
  rng = np.random.default_rng(num + num_highs)
  uids = make_uids(rng, num, num_highs)
  times = rng.integers(1, 9, num)
  whole = np.sort(np.repeat(uids, times))
  others = make_uids(rng, 50, num_highs)
  others["f1"] |= np.uint64(2**63)
  names = uids_lib.SortedUids(whole, "a.npy")
  asked = np.concatenate([others, uids])
  first = names.first(asked)
  np.testing.assert_array_equal(first, np.searchsorted(whole, asked))
  counts = names.count(asked, first)
  assert counts.tolist() == [0] * 50 + times.tolist()
  assert names.have(asked).tolist() == [False] * 50 + [True] * num


def test_no_uids():
  names = uids_lib.SortedUids(np.zeros(0, uids_lib.UID), "a.npy")
  asked = np.zeros(3, uids_lib.UID)
  assert names.have(asked).tolist() == [False] * 3
  assert names.count(asked, names.first(asked)).tolist() == [0] * 3


def test_file_that_is_not_sorted(monkeypatch):
  monkeypatch.setattr(uids_lib, "STRIDE", 4)
  uids = np.sort(make_uids(np.random.default_rng(0), 90, 2**20))[::-1]
  with pytest.raises(
    ValueError, match="a.npy must be sorted .* UID 4 is lower"
  ):
    uids_lib.SortedUids(uids, "a.npy")


def test_forms_of_uids_are_converted_into_each_other():
  rng = np.random.default_rng(3)
  uids = make_uids(rng, 50, 2**63)
  uids["f1"][:3] = 0, 2**64 - 1, 256  # bytes that end in zeros
  data = uids_lib.as_bytes(uids)
  names = uids_lib.sortable(uids)
  assert data.shape == (50, 16)
  assert names.dtype == uids_lib.S16
  assert data.tobytes() == b"".join(map(uids_lib.uid_bytes, uids))
  assert data.tobytes().hex() == "".join(map(uids_lib.uid_hex, uids))
  for form in (uids, data, names):
    np.testing.assert_array_equal(uids_lib.as_bytes(form), data)
    np.testing.assert_array_equal(uids_lib.records(form), uids)
    np.testing.assert_array_equal(uids_lib.sortable(form), names)
    np.testing.assert_array_equal(uids_lib.halves(form)[1], uids["f1"])
  # Strings sort as the numbers do.
  np.testing.assert_array_equal(np.argsort(names), np.argsort(uids))


def test_columns_in_chunks_and_slices():
  names = [bytes([n]) * 16 for n in range(6)]
  array = pa.array(names, pa.binary(16))
  data = b"".join(names)
  assert uids_lib.column_bytes(array[2:4]).tobytes() == data[32:64]
  column = pa.chunked_array([array[1:], array[:0], array[:3]])
  assert uids_lib.column_bytes(column).tobytes() == data[16:] + data[:48]
  empty = pa.chunked_array([], pa.binary(16))
  assert uids_lib.column_bytes(empty).shape == (0, 16)


def test_header_is_of_the_file_that_numpy_writes(tmp_path):
  uids = make_uids(np.random.default_rng(0), 7, 5)
  np.save(tmp_path / "a.npy", uids)
  data = uids_lib.npy_header(7) + uids.tobytes()
  assert (tmp_path / "a.npy").read_bytes() == data


def test_uids_in_files_differ_between_files():
  keys = ["000000000", "000000001", "a/0.tar", "b/0.tar", "0" * 31 + "1"]
  plain = np.array([uids_lib.uid(key) for key in keys], uids_lib.UID)
  made = [uids_lib.in_file(plain, path) for path in ("a/0.tar", "b/0.tar")]
  every = {tuple(uid) for uid in np.concatenate([plain, *made]).tolist()}
  assert len(every) == 3 * len(keys)
  # They depend on nothing else, however many are asked for.
  assert uids_lib.in_file(plain[1:2], "b/0.tar") == made[1][1]
  none = np.zeros(2, uids_lib.UID)
  assert uids_lib.in_file(none, "a").tolist() == [(0, 0)] * 2
  assert uids_lib.in_file(none[:0], "a").tolist() == []
