"""Low-rank updates of a run as a folder of peft, and read again."""

import json
import pathlib

import jax
import numpy as np
import pytest

from inference import export
from inference import model as model_lib
from models import lora
from runtime import sections
from tests import runs
from tests.inference import fresh_run

CLIP = {
  "model.image.pool": "cls",
  "model.image.pre_norm": True,
  "model.image.norm_epsilon": 1e-5,
  "model.text.norm_epsilon": 1e-5,
  "model.text.causal": True,
  "model.text.pool": "eot",
  "model.text.mask_padding": False,
}
MAPS = (r"(img|txt)/blocks/(attn/(query|out)|mlp/up)", "img/projection")


def make_run(
  folder: pathlib.Path, **values: np.ndarray
) -> tuple[pathlib.Path, pathlib.Path]:
  """Write a base model, and a run with updates of it; return both folders.

  Args:
    folder: folder to write in.
    **values: parameters of the run that are not the base's, "/" as "__".
  """
  base = folder / "base"
  params = fresh_run.write(folder / "run", runs.make_config(CLIP), bias=0.0)
  export.run(folder / "run", "hf", str(base))
  config = runs.make_config(
    CLIP
    | {
      "init_from": str(base),
      "model.lora.rank": 2,
      "model.lora.alpha": 6.0,
      "model.lora.maps": MAPS,
    }
  )
  changed = {name.replace("__", "/"): x for name, x in values.items()}
  fresh_run.write(folder / "updated", config, values=params | changed)
  return base, folder / "updated"


@pytest.mark.slow
def test_round_trip(tmp_path: pathlib.Path) -> None:
  base, run = make_run(tmp_path)
  assert export.run(run, "peft", str(tmp_path / "adapter")) == 0
  described = json.loads(
    (tmp_path / "adapter" / "adapter_config.json").read_text()
  )
  assert described["base_model_name_or_path"] == str(base)
  assert (described["r"], described["lora_alpha"]) == (2, 6)
  # Two layers of three maps in two towers, and the projection.
  assert len(described["target_modules"]) == 13
  assert "visual_projection" in described["target_modules"]
  ours = model_lib.load(run)
  merged = sections.flat(
    lora.merged(jax.device_get(ours.params), ours.config.lora), "/"
  )
  theirs = model_lib.load(tmp_path / "adapter")
  assert theirs.path == str(tmp_path / "adapter")
  for path, x in sections.flat(jax.device_get(theirs.params), "/").items():
    np.testing.assert_allclose(x, merged[path], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_refusals(tmp_path: pathlib.Path) -> None:
  base, run = make_run(tmp_path, txt__norm__scale=np.ones(16, np.float32))
  out = str(tmp_path / "adapter")
  with pytest.raises(ValueError, match="needs the folder of a run; got"):
    export.run(base, "peft", out)
  with pytest.raises(ValueError, match=r"got one with model\.lora\.rank=0"):
    export.run(tmp_path / "run", "peft", out)
  with pytest.raises(ValueError, match="txt/norm/scale is not that of"):
    export.run(run, "peft", out)
  assert not pathlib.Path(out).exists()
