"""Config and parameters of every published family, read from a folder."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from models.pretrained import families, loading, mapping, opening
from runtime import sections
from tests import runs
from tests.models.pretrained import goldens


@pytest.mark.parametrize("golden", goldens.MODELS)
def test_a_folder_is_loaded(golden, tmp_path):
  path, found = goldens.write_published(golden, tmp_path)
  files = opening.open_model(path)
  family = families.find(files)
  assert families.name(family) == goldens.family_name(golden)
  config = loading.read_config(family, files)
  assert config == dataclasses.replace(
    family.read_model(found),
    image_mean=config.image_mean,
    image_std=config.image_std,
  )
  params = sections.flat(loading.read_params(family, config, files), "/")
  assert all(x.dtype == np.float32 for x in params.values())
  back = mapping.save(
    family.links(config),
    {p: x for p, x in params.items() if len(config.towers) == 2 or "/" in p},
  )
  assert back
  for name, array in back.items():
    np.testing.assert_array_equal(array, found.tensors[name], name)
  # No logits were published for a single tower.
  np.testing.assert_allclose(
    np.exp(params["log_scale"]), config.scale_init, rtol=1e-6
  )


@pytest.mark.parametrize(
  ("module", "heavy"),
  [
    # Importing it takes as long as JAX and Flax do.
    (
      "loading",
      ("grain", "orbax", "tokenizers", "matplotlib", "PIL", "input_pipeline"),
    ),
    # Workers of the input pipeline import it.
    ("pixels", ("jax", "flax")),
  ],
)
def test_nothing_heavy_is_imported(module, heavy):
  script = (
    f"import sys, models.pretrained.{module};"
    f"print([name for name in {heavy} if name in sys.modules])"
  )
  result = subprocess.run(
    (sys.executable, "-c", script),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == "[]"
