"""Tables of results in three formats."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.classifying import result_table

SCHEMA = pa.schema(
  {
    "name": pa.string(),
    "labels": pa.list_(pa.string()),
    "p": pa.float32(),
    "abstained": pa.bool_(),
  }
)
ROWS = [
  {"name": 'a,"b".png', "labels": ["x", "ü"], "p": 0.1, "abstained": False},
  {"name": "c.png", "p": None},
]


@pytest.mark.parametrize("suffix", result_table.FORMATS)
def test_rows_come_back(suffix, tmp_path, monkeypatch):
  monkeypatch.setattr(result_table, "_NUM_ROWS", 2)
  path = tmp_path / f"out{suffix}"
  with result_table.opened(path, SCHEMA) as writer:
    for row in [*ROWS, *ROWS, ROWS[0]]:
      writer.add(row)
    assert not path.exists()
    writer.finish({"task": "classify"})
  assert [x.name for x in tmp_path.iterdir()] == [path.name]
  if suffix == ".parquet":
    read = pq.read_table(path).to_pylist()
    facts = pq.read_metadata(path).metadata[result_table.FACTS]
    assert json.loads(facts) == {"task": "classify"}
  elif suffix == ".jsonl":
    read = [json.loads(x) for x in path.read_text().splitlines()]
  else:
    with open(path, newline="") as file:
      read = [*csv.DictReader(file)]
    assert read[1] == {"name": "c.png", "labels": "", "p": "", "abstained": ""}
    for row in read:
      row["labels"] = json.loads(row["labels"] or "null")
      row["p"] = float(row["p"]) if row["p"] else None
      row["abstained"] = json.loads(row["abstained"] or "null")
  assert len(read) == 5
  for row, expected in zip(read, [*ROWS, *ROWS, ROWS[0]], strict=True):
    p = row.pop("p")
    assert p == pytest.approx(expected["p"]) if expected["p"] else p is None
    assert row == {
      name: expected.get(name) for name in ("name", "labels", "abstained")
    }


def test_an_end_before_the_last_row_leaves_nothing(tmp_path):
  path = tmp_path / "out.parquet"

  def ended():
    with result_table.opened(path, SCHEMA) as writer:
      writer.add(ROWS[0])
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    ended()
  assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_table_in_a_bucket(folder, tmp_path):
  for suffix in result_table.FORMATS:
    read = []
    for path in (folder / f"out{suffix}", tmp_path / f"out{suffix}"):
      result_table.check(str(path), path)
      with result_table.opened(path, SCHEMA) as writer:
        for row in ROWS:
          writer.add(row)
        assert not path.exists()
        writer.finish({})
      read.append(path.read_bytes())
      with pytest.raises(ValueError, match="is there already"):
        result_table.check(str(path), path)
    assert read[0] == read[1]
