"""--task=export --format=onnx in the environment of its packages.

The models are of random weights; onnxruntime's embeddings of other inputs than
the export's own are compared with those of Python.
"""

import json
import subprocess

import numpy as np
import pytest

import inference
from configs import quickstart
from configs.parts import towers
from tests import programs, runs, tiny
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror
from training import config as config_lib

# .ci/run makes it: the packages of .venv, and requirements-onnx.txt.
PYTHON = runs.ROOT / ".venv-onnx" / "bin" / "python"
_SCRIPT = """
import json, pathlib, sys
import numpy as np
from inference import export
from inference.exporting import onnx_models
for name in sys.argv[1:]:
  folder = pathlib.Path(name)
  source = folder / "model"
  export.run(source, "onnx", str(folder / "out"))
  facts = json.loads((folder / "out" / "export.json").read_text())
  for tower, described in facts["towers"].items():
    content = (folder / "out" / described["file"]).read_bytes()
    inputs = np.load(folder / f"{tower}.npy")
    np.save(folder / f"{tower}_out.npy", onnx_models.embed(content, inputs))
out = folder / "out"
contents = {x: (out / f"{x}.onnx").read_bytes() for x in facts["towers"]}
onnx_models.serialise = lambda tower: (contents[tower.name], {})
onnx_models.LIMIT = 0.0
try:
  export.run(source, "onnx", str(folder / "wrong"))
except ValueError as error:
  print(error)
"""


def _write_run(folder, config):
  config = config_lib.checked(config.to_dict())
  params = mirror.random_params(config.model)
  # Statistics and factors of norms that keep a signal.
  values = {
    path: np.abs(x) + 0.5
    for path, x in params.items()
    if path.endswith(("/running_var", "/scale"))
  }
  fresh_run.write(folder, config, values=values)


def _resnet_and_bert():
  config = tiny.get_config()
  config.data.image_size = 32
  config.model.image = towers.resnet(config.data)
  config.model.image.width = 8
  config.model.image.depths = (1, 1, 1, 1)
  config.model.image.num_heads = 4
  config.model.text = towers.bert(config.data)
  config.model.text.pool = "mean"
  config.model.text.depth = 2
  return config


@pytest.mark.slow
def test_onnxruntime_gives_the_embeddings_of_python(tmp_path):
  missing = [] if PYTHON.exists() else [str(PYTHON.relative_to(runs.ROOT))]
  programs.need(missing, "requirements-onnx.txt there, as .ci/run does")
  for name, config in (
    ("quickstart", quickstart.get_config()),
    ("resnet_and_bert", _resnet_and_bert()),
  ):
    config.data.tokenizer = "bytes"
    (tmp_path / name).mkdir()
    _write_run(tmp_path / name / "model", config)
  rng, wanted = np.random.default_rng(1), {}
  for name in ("quickstart", "resnet_and_bert"):
    model = inference.Model.load(tmp_path / name / "model").loaded
    side, length = model.config.image.image_size, model.config.text.num_tokens
    ids = model.config.text.vocab_size
    colours = rng.integers(0, 256, (5, 4, 4, 3), np.uint8)
    inputs = {
      "image": colours.repeat(side // 4, 1).repeat(side // 4, 2),
      "text": rng.integers(0, ids, (5, length), np.int32),
    }
    embedder = model.make_embedder(5)
    zimg = embedder.images(model.params, inputs["image"])
    ztxt = embedder.texts(model.params, inputs["text"])
    wanted[tmp_path / name] = inputs, {"image": zimg, "text": ztxt}
  for name in ("hf_siglip",):  # embeddings of transformers
    (tmp_path / name / "model").mkdir(parents=True)
    goldens.write_published(name, tmp_path / name / "model")
    _, golden = goldens.read(goldens.FOLDER / f"{name}.npz")
    wanted[tmp_path / name] = (
      {"image": golden["images"], "text": golden["tokens"]},
      {"image": golden["zimg"], "text": golden["ztxt"]},
    )
  for folder, (inputs, _) in wanted.items():
    for name, array in inputs.items():
      np.save(folder / f"{name}.npy", array)
  done = subprocess.run(
    (PYTHON, "-c", _SCRIPT, *wanted),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "Traceback" not in done.stderr
  assert "differ by" in done.stdout.splitlines()[-1]
  assert not ([*wanted][-1] / "wrong").exists()
  for folder, (_, embeddings) in wanted.items():
    facts = json.loads((folder / "out" / "export.json").read_text())
    assert facts["versions"]["jax2onnx"]
    for name, array in embeddings.items():
      got = np.load(folder / f"{name}_out.npy")
      np.testing.assert_allclose(got, array, atol=1e-4)
      # Inputs are told apart, so that equality says something.
      assert np.abs(got[0] - got[1]).max() > 1e-3
      assert facts["towers"][name]["input"]["shape"][0] == "batch"
      assert 0 < facts["towers"][name]["largest_difference"] <= 1e-4
