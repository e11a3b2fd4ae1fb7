"""Runs of squares, then of drawn numbers of patches: killed ones end alike.

Their short neighbours are tests/training/test_patch_programs.py, for the steps,
and tests/input_pipeline/test_patch_counts.py, for the resumed data.
"""

import json
import math

import pytest

from tests import killed_runs, runs, tiny_naflex

_SWITCH, _END = tiny_naflex.STEPS[0], sum(tiny_naflex.STEPS)


@pytest.mark.long
@pytest.mark.slow
def test_a_run_killed_among_lengths_has_the_same_bits(tmp_path):
  """2 + 4 steps are those of 4 + 2, killed at a batch of another number."""
  pairs, whole, killed = (tmp_path / x for x in ("pairs", "whole", "killed"))
  tiny_naflex.write_pairs(pairs)
  config = "tests/tiny_naflex.py"
  with killed_runs.runner(tmp_path, config, pairs) as run:
    output = run(whole)
    for count in tiny_naflex.COUNTS:
      assert f"Batches of {count} patches an image:" in output
    kill = killed_runs.KILL_AT.format(step=_END - 1)
    run(killed, before=kill, code=-9)
    assert runs.last_step(killed) == _SWITCH + 2
    run(killed)
  assert runs.train_lines(killed) == runs.train_lines(whole)
  wanted, got = killed_runs.digests(whole), killed_runs.digests(killed)
  assert got[_END] == wanted[_END]
  rows = [json.loads(line) for line in runs.train_lines(whole)]
  assert [row.get("train/num_patches") for row in rows] == [
    *(None, None, 6.0, 12.0, 12.0, 12.0)
  ]
  # The cosine has 4 steps after warmup, whose last 2 are stretched to 4.
  places = [1, 2, 2.5, 3, 3.5]
  rate = rows[1]["train/learning_rate"]
  for row, place in zip(rows[1:], places, strict=True):
    factor = 0.5 * (1 + math.cos(math.pi * (place - 1) / 3))
    assert row["train/learning_rate"] == pytest.approx(rate * factor, rel=1e-4)
