"""A classifier: an image tower with a linear head, from main.py."""

import json

import pytest

from tests import tiny_classes


@pytest.mark.slow
def test_a_head_that_begins_with_prompts(runner, reference, tmp_path):
  folder = tmp_path / "pictures"
  folder.mkdir()
  tiny_classes.write(folder)
  workdir = tmp_path / "run"
  flags = (
    f"--config.init_from={reference}",
    f"--config.data.cache_dir={tmp_path}/cache",
  )
  config = f"tests/tiny_classes.py:{folder}"
  result = runner.run(workdir, *flags, config=config)
  assert result.code == 0, result.stderr
  tuned = json.loads((workdir / "results.json").read_text())
  assert tuned["head"]["top_1"] > 0.9
  assert tuned["head"]["weighted_f1"] > 0.9
  assert "linear head" in tuned["head"]["protocol"]["classifier"]

  result = runner.run(
    workdir,
    *("--task=evaluate", "--interpolate=0,1", f"--out={tmp_path}/curve"),
    config=None,
  )
  assert result.code == 0, result.stderr
  at = {
    alpha: json.loads(
      (tmp_path / "curve" / f"alpha_{alpha}" / "results.json").read_text()
    )
    for alpha in (0, 1)
  }
  # The start is zero-shot: its prompts' embeddings are its head.
  for figure in ("top_1", "mean_per_class", "weighted_f1"):
    assert at[0]["head"][figure] == pytest.approx(at[0]["zero"][figure])
    assert at[1]["head"][figure] == pytest.approx(tuned["head"][figure])
  assert at[0]["head"]["top_1"] < at[1]["head"]["top_1"]
