"""--task=export of programs: StableHLO here, ONNX where jax2onnx is."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest

import inference
from inference import export
from inference import model as model_lib
from inference.exporting import programs, stablehlo, towers
from models import dual_encoder, naflex, stack
from models.pretrained import families, mapping
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Return a run's folder; its towers compute in bfloat16."""
  folder = tmp_path_factory.mktemp("run") / "run"
  fresh_run.write(folder, runs.make_config({"model.dtype": "bfloat16"}))
  return folder


@pytest.fixture(scope="module")
def exported(run):
  out = run.parent / "out"
  export.run(run, "stablehlo", str(out), license="cc-by-4.0")
  return out


def test_programs_give_the_embeddings_of_python(run, exported):
  facts = json.loads((exported / "export.json").read_text())
  model = inference.Model.load(run, dtype="float32")
  assert facts["digest"] == model.digest
  assert facts["model"] == {
    "family": "run",
    "step": 3,
    "digest": inference.Model.load(run).digest,
    "dtype": "bfloat16",
  }
  assert facts["loss"] == "sigmoid"
  np.testing.assert_allclose(
    [facts["scale"], facts["bias"]], [model.scale, model.bias]
  )
  image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
  texts = ["Woman firefighter", "a", "a caption that is cut at its end", "家"]
  inputs = {
    "image": model.image_protocol.apply(image)[None],
    "text": model.tokenizer(texts),
  }
  wanted = {
    "image": model.embed_images(image),
    "text": model.embed_texts(texts),
  }
  for name, tower in facts["towers"].items():
    content = (exported / tower["file"]).read_bytes()
    program = jax.export.deserialize(bytearray(content))
    assert program.platforms == tuple(tower["platforms"])
    assert tower["platforms"] == ["cpu", "cuda", "tpu"]
    assert [*inputs[name].shape[1:]] == tower["input"]["shape"][1:]
    assert inputs[name].dtype == tower["input"]["dtype"]
    (spec,) = program.in_avals
    assert str(spec.shape[0]) == tower["input"]["shape"][0] == "batch"
    got = np.asarray(program.call(inputs[name]))
    np.testing.assert_allclose(got, wanted[name], atol=1e-5)
    assert tower["largest_difference"] <= 1e-5


def test_folder_has_tokenizer_and_card(run, exported):
  assert sorted(x.name for x in exported.iterdir()) == [
    "README.md",
    "export.json",
    "image.stablehlo",
    "text.stablehlo",
    "tokenizer.json",
    "tokenizer_config.json",
  ]
  card = (exported / "README.md").read_text()
  assert card.startswith("---\nlicense: cc-by-4.0\nlibrary_name: jax\n")


def test_other_embeddings_are_an_error(run, monkeypatch):
  monkeypatch.setattr(stablehlo, "serialise", lambda tower: (b"", {}))
  monkeypatch.setattr(stablehlo, "embed", lambda _, x: np.ones((len(x), 16)))
  out = run.parent / "wrong"
  with pytest.raises(ValueError, match="image tower's program gives other"):
    export.run(run, "stablehlo", str(out))
  assert not out.exists()


def test_towers_without_a_program_are_named(run, monkeypatch):
  model = model_lib.load(run)
  patches = naflex.NaFlexConfig(
    tower="naflex",
    image_size=16,
    patch_size=8,
    max_num_patches=4,
    position_size=2,
    **{
      field: getattr(model.config.image, field)
      for field in ("width", "depth", "num_heads", "mlp_width", "activation")
      + ("projection", "projection_bias", "norm_epsilon", "dropout")
    },
  )
  config = dataclasses.replace(model.config, image=patches)
  with pytest.raises(ValueError, match="image tower of this model is a naflex"):
    programs.Programs(dataclasses.replace(model, config=config), "stablehlo")
  found, _ = goldens.read(goldens.FOLDER / "hf_efficientnet.npz")
  config, params = goldens.load(families.find(found), found)
  model = dataclasses.replace(
    model, config=config, params=mapping.nested(params)
  )
  with pytest.raises(ValueError, match="got the image tower 'efficientnet'"):
    programs.Programs(model, "onnx")
  monkeypatch.setattr(towers, "_MOST_BYTES", 1000)
  with pytest.raises(ValueError, match="image tower's parameters must be at"):
    programs.Programs(model, "stablehlo")


@pytest.mark.parametrize(
  "changes",
  [
    {"model.text.pool": "mean", "model.image.pool": "gap"},
    {"model.text.pool": "last", "model.image.pool": "cls"},
    {"model.text.pool": "cls", "model.image.pool": "queries"},
    {"model.text.pool": "argmax", "model.text.causal": True},
  ],
)
def test_batch_of_every_pool_is_symbolic(changes):
  config = runs.make_config(changes | {"model.image.pool_heads": 2}).model
  fns = dual_encoder.embed_fns(dataclasses.replace(config, remat="none"))
  params = mapping.nested(mirror.random_params(config))
  params = stack.layers_apart(params)
  batch = jax.export.symbolic_shape("batch")
  for fn, shape, dtype in (
    (fns[0], (*batch, 16, 16, 3), "uint8"),
    (fns[1], (*batch, 8), "int32"),
  ):
    out = jax.eval_shape(fn, params, jax.ShapeDtypeStruct(shape, dtype))
    assert str(out.shape) == "(batch, 16)"


@pytest.mark.parametrize(
  ("form", "package", "file"),
  [
    ("onnx", "onnx", "requirements-onnx.txt"),
    ("stablehlo", "flatbuffers", "requirements.txt"),
  ],
)
def test_a_missing_package_is_named(run, form, package, file, monkeypatch):
  monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(ModuleNotFoundError, match=f"{package}.*{file}"):
    export.run(run, form, str(run.parent / form))
  assert not (run.parent / form).exists()
