"""Merging sorted UIDs in little memory, against NumPy's own."""

import hashlib

import numpy as np
import pytest

from curation.outputs import selection
from input_pipeline.storage import uids as uids_lib


def random_uids(rng, num, high_bits):
  uids = np.empty(num, uids_lib.UID)
  uids["f0"] = rng.integers(0, 2**high_bits, num, np.uint64)
  uids["f1"] = rng.integers(0, 2**5, num, np.uint64) << np.uint64(59)
  return uids


# Halves that hardly repeat, and few of which all UIDs are made; runs of which
# one has all low ones, so that it is read to its end before the others.
@pytest.mark.parametrize("high_bits", [1, 4, 62])
@pytest.mark.parametrize("num_in_memory", [7, 60, 10_000])
def test_merges_what_does_not_fit_in_memory(tmp_path, high_bits, num_in_memory):
  rng = np.random.default_rng(0)
  runs = [random_uids(rng, num, high_bits) for num in (0, 1, 90, 300)]
  runs[2]["f0"] //= 4
  expected = np.unique(np.concatenate(runs))
  paths = []
  for number, run in enumerate(runs):
    paths.append(tmp_path / str(number))
    paths[-1].write_bytes(uids_lib.unique(run).tobytes())
  merged = list(selection.merged(paths, num_in_memory))
  assert max(map(len, merged)) <= max(num_in_memory, len(paths))
  np.testing.assert_array_equal(np.concatenate(merged), expected)


def test_levels_and_the_file(tmp_path, monkeypatch):
  monkeypatch.setattr(selection, "FAN_IN", 2)
  rng = np.random.default_rng(1)
  uids = random_uids(rng, 100, 40)
  paths = []
  for number, part in enumerate(np.array_split(uids, 5)):
    paths.append(tmp_path / str(number))
    paths[-1].write_bytes(uids_lib.unique(part).tobytes())
  groups = selection.groups(paths, tmp_path / "merged", 0)
  assert [len(group.runs) for group in groups] == [2, 2, 1]
  for group in groups:
    selection.merge_group(group)
  num, digest = selection.write(
    [group.path for group in groups], tmp_path / "selection.npy"
  )
  found = np.load(tmp_path / "selection.npy", allow_pickle=False)
  expected = np.unique(uids)
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == np.dtype("u8,u8")
  assert num == len(expected)
  assert digest == hashlib.sha256(expected.tobytes()).hexdigest()


def test_nothing_is_kept(tmp_path):
  assert selection.write([], tmp_path / "selection.npy")[0] == 0
  assert np.load(tmp_path / "selection.npy").shape == (0,)
