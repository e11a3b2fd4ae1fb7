"""Examples and captions drawn by their keep probabilities."""

import json
import pickle

import numpy as np
import pytest

from input_pipeline.selecting import balanced
from input_pipeline.sources import webdataset
from input_pipeline.storage import uids as uids_lib
from tests.input_pipeline.sources import pairs, tars


def make_source(tmp_path, captions, chances):
  """Return a section over images with some captions, and their keep file."""
  members, rows = {}, []
  for place, (texts, some) in enumerate(zip(captions, chances, strict=True)):
    members[f"{place}.png"] = pairs.png(place)
    members[f"{place}.json"] = json.dumps({"texts": texts}).encode()
    if any(some):
      uid = uids_lib.uid(str(place))
      rows += [(*uid, number, chance) for number, chance in enumerate(some)]
  tars.write(tmp_path / "0.tar", members)
  np.save(tmp_path / "keep.npy", np.array(sorted(rows), balanced.KEEP))
  return pairs.source(
    "webdataset", tmp_path / "0.tar", keep=str(tmp_path / "keep.npy")
  )


def test_draws_are_in_proportion_to_the_probabilities(tmp_path):
  chances = [[1.0], [0.0], [0.5, 0.1], [0.2]]
  captions = [["a"], ["b"], ["c", "d"], ["e"]]
  source = make_source(tmp_path, captions, chances)
  place = pairs.context(tmp_path)
  records = webdataset.open_split(source, "", place)
  found = balanced.select(records, source, place)
  assert [found[i].key for i in range(len(found))] == ["0", "2", "3"]
  assert found.uids().tolist() == records.uids()[[0, 2, 3]].tolist()
  assert found.mean_keep == pytest.approx((1.0 + 0.3 + 0.2) / 3)
  num = 3000
  draws = [found.draw(0, position, 0, position % 3) for position in range(num)]
  again = pickle.loads(pickle.dumps(found))  # as in a worker process
  assert draws == [again.draw(0, i, 0, i % 3) for i in range(num)]
  assert draws != [found.draw(1, i, 0, i % 3) for i in range(num)]
  counts = {draw: draws.count(draw) for draw in set(draws)}
  expected = {(0, 0): 1.0, (1, 0): 0.25, (1, 1): 0.05, (2, 0): 0.2}
  assert set(counts) == set(expected)
  for draw, share in expected.items():
    share /= sum(expected.values())
    # Within four standard deviations of chance; the draws are fixed.
    deviation = np.sqrt(num * share * (1 - share))
    assert abs(counts[draw] - num * share) < 4 * deviation


def test_keep_files_of_no_use(tmp_path):
  source = make_source(tmp_path, [["a"]], [[0.5]])
  place = pairs.context(tmp_path)
  records = webdataset.open_split(source, "", place)
  path = tmp_path / "keep.npy"
  np.save(path, np.zeros(3, uids_lib.UID))
  with pytest.raises(ValueError, match=r"data.sources.main.keep must be keep"):
    balanced.select(records, source, place)
  np.save(path, np.zeros(3, balanced.KEEP))
  with pytest.raises(ValueError, match=r"keep=.* keeps none of the 1 examples"):
    balanced.select(records, source, place)
