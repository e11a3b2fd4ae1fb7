"""A run does not begin where none of the first examples can be used."""

import pytest

from input_pipeline import faults, probe
from tests.input_pipeline.sources import pairs


class _Dead:
  """Records at an address that never answers, a minute for each."""

  def __init__(self):
    self.seconds = 0.0
    self.num_read = 0

  def __len__(self):
    return 1000

  def __getitem__(self, index):
    self.seconds += 62.5
    self.num_read += 1
    raise faults.ExampleError("read_failed", f"http://h/{index}: no answer")


def test_a_dead_address_ends_the_probe(monkeypatch):
  records = _Dead()
  monkeypatch.setattr(probe.time, "monotonic", lambda: records.seconds)
  with pytest.raises(
    ValueError,
    match="none of the first 5 examples of data.sources.main can be used: "
    "read_failed: http://h/0: no answer",
  ):
    probe.check("main", pairs.source("table", "x"), records, ("en",))
  assert records.num_read == 5
