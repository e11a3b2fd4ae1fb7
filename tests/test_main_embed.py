"""main.py on a published model: embed it, export it, and what is said."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import runs
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror


def _published(folder):
  """Write a tiny CLIP as transformers keeps it; return its file and images."""
  found, arrays = goldens.read(goldens.FOLDER / "hf_clip.npz")
  folder.mkdir()
  mirror.write_source(folder, found)
  for i, image in enumerate(arrays["images"]):
    Image.fromarray(image).save(folder / f"{i}.png")
  return arrays


def _run(*args):
  # Nothing is prepared or compiled beforehand.
  return runs.Runner(None, None).run(None, *args, config=None)


@pytest.mark.slow
def test_embed(tmp_path):
  expected = _published(tmp_path / "clip")
  result = _run(
    "--task=embed",
    f"--init_from={tmp_path / 'clip'}",
    f"--images={tmp_path / 'clip' / '*.png'}",
    f"--out={tmp_path / 'out'}",
    "--json",
  )
  assert result.code == 0, result.stderr
  facts = json.loads(result.stdout)
  assert facts["family"] == "hf_clip"
  np.testing.assert_allclose(facts["scale"], expected["scale"], rtol=1e-6)
  assert facts["bias"] == 0
  # Equal to transformers' results but for the order of float32 sums.
  zimg = np.load(tmp_path / "out" / "images.npy")
  np.testing.assert_allclose(zimg, expected["zimg"], atol=2e-5)
  assert "Warning" not in result.stderr


@pytest.mark.slow
def test_export_and_mistakes(tmp_path):
  _published(tmp_path / "clip")
  result = _run(
    "--task=export",
    f"--workdir={tmp_path / 'clip'}",  # of any model
    "--format=open_clip",
    f"--out={tmp_path / 'out'}",
  )
  assert result.code == 0, result.stderr
  assert "tensors of open_clip in" in result.stdout
  assert (tmp_path / "out" / "open_clip_config.json").exists()

  for args, words in (
    (("--task=embed",), "error: give the model: --init_from=PATH"),
    (
      (
        "--task=embed",
        f"--init_from={tmp_path / 'clip'}",
        f"--texts={tmp_path / 'clip' / 'config.json'}",
        f"--out={tmp_path / 'new'}",
      ),
      f"error: {tmp_path / 'clip'} cannot read texts: ",
    ),
  ):
    result = _run(*args)
    assert result.code == 1
    assert result.stderr.startswith(words), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not result.stdout
  assert not (tmp_path / "new").exists()
