"""Code of docs/inference.md, run as it stands."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import inference
from inference.embeddings import embed
from inference.indexing import build
from tests import runs
from tests.inference import fresh_run

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "inference.md"


@pytest.mark.slow
def test_the_page_on_inference(tmp_path, monkeypatch, capsys):
  fresh_run.write(tmp_path / "runs" / "quickstart", runs.make_config())
  (tmp_path / "photos").mkdir()
  for n in range(4):
    pixels = np.random.default_rng(n).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / f"{n}.png")
  monkeypatch.chdir(tmp_path)
  commands = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
  assert any("--task=index" in command for command in commands)
  build.run(
    "runs/quickstart",
    embed.Wanted(images="photos/*.png", texts="", out="index", batch_size=8),
  )
  blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
  assert len(blocks) == 6
  names: dict = {}
  for block in blocks:
    exec(compile(block, str(PAGE), "exec"), names)
  assert isinstance(names["model"], inference.Model)
  assert (tmp_path / "why.png").is_file()
  assert "photos/" in capsys.readouterr().out
