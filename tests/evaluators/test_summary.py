import json
import os

import pytest

from evaluators import summary
from runtime.storage import whole_files

SCORES = {"R@1": 0.8125, "R@5": 0.96, "R@10": 1.0, "median_rank": 1.5}
RESULTS = {
  "unseen_concept": {
    "num_candidates": 241,
    "image_to_text": SCORES,
    "text_to_image": SCORES,
    "all_names": {"num_candidates": 3953, **SCORES},
    "languages": {
      "de": {
        "num_candidates": 200,
        "image_to_text": SCORES,
        "text_to_image": SCORES,
      }
    },
  },
  "zero_shot": {
    "skin_tone": {
      "num_classes": 5,
      "num_examples": 288,
      "top_1": 0.9,
      "mean_per_class": 0.5,
    }
  },
}


def test_table_has_chance_beside_each_figure():
  lines = summary.table(RESULTS).splitlines()
  assert lines[0].split() == [
    "unseen",
    "concept",
    "of",
    "R@1",
    "R@5",
    "R@10",
    "median",
    "rank",
  ]
  cells = "241 0.812 (0.004) 0.960 (0.021) 1.000 (0.041) 1.5 (121)"
  assert " ".join(lines[1].split()) == f"image to text {cells}"
  assert "3,953  0.812 (0.0003)" in lines[3]
  assert lines[4].startswith("  image to text, de")
  assert "200  " in lines[4]
  assert "0.900 (0.200)" in lines[8]
  # Columns are aligned: right edges of the first figure.
  assert {line.index(")") for line in lines[1:6]} == {lines[1].index(")")}
  assert max(map(len, lines)) <= 90


def test_table_of_nothing():
  assert summary.table({}) == ""


def test_results_are_written_whole_or_not_at_all(tmp_path):
  path = tmp_path / "results.json"
  summary.write_results(path, RESULTS)
  assert json.loads(path.read_text()) == RESULTS
  summary.write_results(path, {"a": float("nan"), "b": 0.5})
  assert json.loads(path.read_text()) == {"a": None, "b": 0.5}
  assert os.listdir(tmp_path) == ["results.json"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
  path = tmp_path / "results.json"
  path.write_text("old")

  def full_disk(handle):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", full_disk)
  with pytest.raises(OSError, match="No space left"):
    whole_files.write(path, b"new")
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["results.json"]
