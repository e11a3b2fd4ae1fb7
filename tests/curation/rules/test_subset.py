"""Files of UIDs as a step."""

import pathlib

import numpy as np
import pyarrow as pa
import pytest

from curation import operators, pool
from curation.rules import subset
from input_pipeline.storage import uids as uids_lib

PLACE = operators.StepContext(pathlib.Path(), pathlib.Path())


def make_uids(rng, num, num_highs):
  uids = np.empty(num, uids_lib.UID)
  uids["f0"] = rng.integers(0, num_highs, num).astype(np.uint64) << np.uint64(
    40
  )
  uids["f1"] = rng.integers(0, 2**63, num)
  return uids


def decide(paths, uids):
  step = subset.Subset(tuple(map(str, paths)))
  step.check("steps.subset")
  table = pa.table({"uid": pool.uid_column(uids)})
  return step.open(PLACE)(table).keep


def test_several_files_are_their_union(tmp_path):
  uids = np.sort(make_uids(np.random.default_rng(0), 90, 2**20))
  np.save(tmp_path / "a.npy", uids[:30])
  np.save(tmp_path / "b.npy", uids[20:50])
  keep = decide([tmp_path / "a.npy", tmp_path / "b.npy"], uids[::-1])
  assert keep.tolist() == [False] * 40 + [True] * 50


def test_files_of_no_use(tmp_path, monkeypatch):
  monkeypatch.setattr(uids_lib, "STRIDE", 4)
  uids = np.sort(make_uids(np.random.default_rng(0), 90, 2**20))
  np.save(tmp_path / "reverse.npy", uids[::-1])
  np.save(tmp_path / "numbers.npy", np.arange(9))
  for name, message in (
    ("reverse.npy", "must be sorted .* UID 4 is lower"),
    ("numbers.npy", 'steps.subset.paths must be a .* of dtype "u8,u8"'),
    ("none.npy", "steps.subset.paths: there is no file"),
  ):
    with pytest.raises(ValueError, match=message):
      decide([tmp_path / name], uids)
  with pytest.raises(ValueError, match="steps.subset.paths must name"):
    decide([], uids)
