"""Contract of all formats, tested on the same pairs."""

import concurrent.futures
import os
import pickle
import sys

import numpy as np
import pytest

from input_pipeline import faults, sources
from input_pipeline.sources import image_ids, record
from input_pipeline.storage import uids as uids_lib
from tests.input_pipeline.sources import pairs


def _read(records, index):
  """Return a record, or the kind of its fault."""
  try:
    return records[index]
  except faults.ExampleError as error:
    return error.kind


@pytest.fixture(params=pairs.CASES)
def case(request, tmp_path):
  return pairs.CASES[request.param](tmp_path)


def _open(case, tmp_path):
  module = sources.FORMATS[case.source.format]
  place = pairs.context(tmp_path)
  splits = module.splits(case.source, place)
  assert case.split in (splits or ("",))
  return module.open_split(case.source, case.split, place)


def test_records_are_those_that_went_in(case, tmp_path):
  records = _open(case, tmp_path)
  assert len(records) == len(case.expected)
  for index, wanted in reversed(list(enumerate(case.expected))):
    assert _read(records, index) == wanted
  with pytest.raises(IndexError):
    records[len(records)]

  copy = pickle.loads(pickle.dumps(records))
  assert _read(copy, 1) == case.expected[1]
  again = _open(case, tmp_path)
  assert again.fingerprint() == records.fingerprint() == copy.fingerprint()
  assert len(pickle.dumps(records)) < 5000  # no image travels

  uids = records.uids()
  assert uids.dtype == uids_lib.UID
  assert uids.shape == (len(records),)
  for uid, wanted in zip(uids, case.expected, strict=True):
    if isinstance(wanted, record.Record):
      assert tuple(uid.tolist()) == uids_lib.uid(wanted.key)
  assert len(np.unique(uids)) == len(uids)

  # More threads than things to read, from cold.
  indices = list(range(len(copy))) * 4
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda index: _read(again, index), indices))
  assert found == [case.expected[index] for index in indices]


def test_an_image_has_one_name_in_all_formats(case, tmp_path):
  records = _open(case, tmp_path)
  for index, wanted in enumerate(case.expected):
    if wanted == "image_missing":
      with pytest.raises(faults.ExampleError):
        records.image_id(index)
      continue
    # A caption that is missing does not matter.
    image = pairs.png(pairs.NO_CAPTION)
    if isinstance(wanted, record.Record):
      image = wanted.image
      assert records[index].image_id() == image_ids.of_bytes(image)
    assert records.image_id(index) == image_ids.of_bytes(image)


def test_content_changes_the_fingerprint(case, tmp_path):
  before = _open(case, tmp_path).fingerprint()
  for file in tmp_path.rglob("*"):
    if "cache" in file.relative_to(tmp_path).parts:
      continue
    # The file keeps its size, but is a second newer.
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))
  assert _open(case, tmp_path).fingerprint() != before


def test_heavy_packages_wait_until_they_are_needed():
  # In this process others may have imported them; the modules must not.
  for name in ("arrow.parquet", "arrow.parquet_layout", "tfds"):
    module = sys.modules.get(f"input_pipeline.sources.{name}")
    assert not {"pyarrow", "tensorflow_datasets"} & set(vars(module))
