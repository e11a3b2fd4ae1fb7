"""A classifier: an image tower with a linear head, from main.py."""

import json

import jax
import numpy as np
import pytest

from runtime import mesh as mesh_lib
from tests import tiny_classes
from training import config as config_lib
from training.run import starting_weights


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
  _check_next_start(f"{folder}", workdir)
  # The start is zero-shot: its prompts' embeddings are its head.
  for figure in ("top_1", "mean_per_class", "weighted_f1"):
    assert at[0]["head"][figure] == pytest.approx(at[0]["zero"][figure])
    assert at[1]["head"][figure] == pytest.approx(tuned["head"][figure])
  assert at[0]["head"]["top_1"] < at[1]["head"]["top_1"]


def _check_next_start(folder, workdir):
  """Check what a run that begins with a classifier's takes of its head."""

  def read(**fields):
    config = tiny_classes.get_config(folder)
    config.init_from = str(workdir)
    config.model.head.prompts = ()
    config.update_from_flattened_dict(fields)
    config = config_lib.checked(config.to_dict())
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    initial = starting_weights.read(config, mesh)
    return starting_weights.with_head(initial, config, mesh, lambda texts: None)

  same = read()["head"]
  assert np.any(np.asarray(same["bias"]))
  other = {"model.head.classes": ("blue", "red", "green")}
  with pytest.raises(ValueError, match=r"a head of other classes, model.head"):
    read(**other)
  new = read(**other, init_except=("head/.*",))["head"]
  assert not np.any(np.asarray(new["kernel"]))
  with pytest.raises(
    ValueError, match=r"model.head.prompts needs .*with a hea"
  ):
    read(**{"model.head.prompts": (tiny_classes.PROMPT,)})
