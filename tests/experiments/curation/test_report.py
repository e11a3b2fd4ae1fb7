import json

import numpy as np
import pytest

from experiments.curation import report, web_noise
from input_pipeline.storage import uids as uids_lib


def results(right):
  image_to_text = {"R@1": right, "R@5": right, "R@10": right}
  return {
    "retrieval": {"image_to_text": image_to_text | {"median_rank": 7.0}},
    "zero_shot": {"mean_per_class": right, "top_5": right},
  }


@pytest.fixture
def runs(tmp_path):
  data, out = tmp_path / "data", tmp_path / "out"
  data.mkdir()
  kinds = np.arange(14, dtype=np.uint8) % len(web_noise.SHARES)
  np.save(data / "kinds.npy", kinds)
  for name, right in (("raw-0", 0.1), ("raw-1", 0.2), ("dfn-0", 0.4)):
    (out / name).mkdir(parents=True)
    text = json.dumps(results(right))
    (out / name / "heldout.json").write_text(text)
  (out / "curate_dfn").mkdir()
  # The first pair (as_is) and the second (swapped).
  uids = [uids_lib.uid(f"{row:09d}") for row in (0, 1)]
  np.save(out / "curate_dfn" / "selection.npy", np.array(uids, uids_lib.UID))
  return data, out


def test_tables_have_mean_and_spread_and_what_was_kept(runs):
  shown = report.write(*runs)
  # 15 is the mean of 10 and 20, 7.1 their standard deviation.
  assert "| raw pool | 14 | 57% | 2 | 15.0 ± 7.1 " in shown
  assert "| 7.0 ± 0.0 |" in shown
  assert "| DFN | 2 | 50% | 1 | 40.0 |" in shown
  assert "| DFN | 1 | 1 | 0 | 0 | 0 | 0 | 0 |" in shown
  assert "ALIGN" not in shown


def test_files_are_written_and_the_same_each_time(runs):
  names = ("results.json", "results.md", "results.svg")
  report.write(*runs)
  first = [(runs[1] / name).read_bytes() for name in names]
  report.write(*runs)
  assert first == [(runs[1] / name).read_bytes() for name in names]
  found = json.loads(first[0])
  assert found["raw"]["retrieval/image_to_text/R@1"] == pytest.approx([10, 20])
  assert found["dfn"]["kept"]["swapped"] == 1
