"""A run begins with what was published, or with what another run learned."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from models.pretrained import families, positions
from models.pretrained.families import hf_bert, hf_vit
from runtime import mesh as mesh_lib
from runtime import sections
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror
from training import train, train_state
from training.run import starting_weights


@pytest.fixture(autouse=True)
def _only_mirror(monkeypatch):
  monkeypatch.setattr(families, "FAMILIES", (mirror,))


def _mesh(shape=(1, 1, 1)):
  devices = jax.devices()[: int(np.prod(shape))]
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(*shape), devices)


def _published(folder, changes=None, **fields):
  """Write a random model of the tiny run's config, with changes."""
  model = runs.make_config(changes or {}).model
  for tower in fields.pop("without", ()):
    model = model.__class__(**(vars(model) | {tower: None}))
  params = mirror.random_params(model)
  mirror.write(folder, model, params, **fields)
  return params


def _read(changes, mesh=None):
  config = runs.make_config(changes)
  return sections.flat(starting_weights.read(config, mesh or _mesh()), "/")


def _assert_equal(got, expected):
  assert got.keys() == expected.keys()
  for path, array in expected.items():
    np.testing.assert_array_equal(np.asarray(got[path]), array, path)


def test_no_field_is_set():
  assert starting_weights.read(runs.make_config(), _mesh()) == {}


def test_a_whole_model_lies_where_the_run_has_it(tmp_path):
  expected = _published(tmp_path)
  config = runs.make_config({"init_from": str(tmp_path)})
  mesh = _mesh((2, 2, 2))
  given = starting_weights.read(config, mesh)
  abstract, init_params, optimizer = runs.abstract_state(config, mesh)
  for x, wanted in zip(
    jax.tree.leaves(given), jax.tree.leaves(abstract.params), strict=True
  ):
    assert x.sharding == wanted.sharding
    assert x.dtype == wanted.dtype
  with jax.set_mesh(mesh):
    state = train_state.init(init_params, optimizer, abstract, 0, given)
  assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(
    lambda x: x.sharding, abstract
  )
  _assert_equal(sections.flat(state.params, "/"), expected)
  assert int(state.step) == 0
  # The arrays that were given became the state's; no second copy is kept.
  assert all(x.is_deleted() for x in jax.tree.leaves(given))


def test_towers_of_two_files_and_the_rest_by_the_seed(tmp_path):
  image = _published(tmp_path / "image", without=["text"])
  # One tower of a whole model is read; the other may be any.
  text = _published(tmp_path / "text", {"model.image.width": 8})
  changes = {
    "init_image_from": str(tmp_path / "image"),
    "init_text_from": str(tmp_path / "text"),
    "init_except": (r"txt/projection/.*",),
  }
  config, mesh = runs.make_config(changes), _mesh()
  given = starting_weights.read(config, mesh)
  expected = {
    path: x
    for path, x in (image | text).items()
    if path.startswith(("img/", "txt/"))
  } | {p: x for p, x in image.items() if p.startswith("img/")}
  del expected["txt/projection/kernel"]
  _assert_equal(sections.flat(given, "/"), expected)
  abstract, init_params, optimizer = runs.abstract_state(config, mesh)
  with jax.set_mesh(mesh):
    state = train_state.init(init_params, optimizer, abstract, 0, given)
  got = sections.flat(state.params, "/")
  by_seed = {path: got.pop(path) for path in list(got) if path not in expected}
  _assert_equal(got, expected)
  assert by_seed.keys() == {"txt/projection/kernel", "log_scale", "bias"}
  assert np.std(by_seed["txt/projection/kernel"]) > 0.1  # width 16: 0.25
  assert by_seed["bias"] == config.model.bias_init


def test_a_vit_and_a_bert_that_were_published_apart(tmp_path, monkeypatch):
  """As LiT begins (arXiv 2111.07991), here with new projections in both."""
  monkeypatch.setattr(families, "FAMILIES", (hf_bert, hf_vit))
  expected, read = {}, {}
  for name, field in (("hf_vit", "image"), ("hf_bert", "text")):
    found, _ = goldens.read(goldens.FOLDER / f"{name}.npz")
    (tmp_path / name).mkdir()
    mirror.write_source(tmp_path / name, found)
    model, params = goldens.load(families.find(found), found)
    read[field] = getattr(model, field)
    expected |= {p: x for p, x in params.items() if "/projection/" not in p}
  projection = {"projection": True, "projection_bias": False}
  towers = {
    name: dataclasses.replace(tower, **projection)
    for name, tower in read.items()
  }
  config = runs.make_config()
  config = dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, **towers),
    init_image_from=str(tmp_path / "hf_vit"),
    init_text_from=str(tmp_path / "hf_bert"),
    init_except=(r"(img|txt)/projection/.*", r"classifier\..*"),
  )
  given = sections.flat(starting_weights.read(config, _mesh()), "/")
  _assert_equal(given, {p: x for p, x in expected.items() if "/" in p})


def test_positions_are_fitted(tmp_path):
  expected = _published(
    tmp_path, {"data.image_size": 24, "data.num_tokens": 12}
  )
  got = _read({"init_from": str(tmp_path)})
  shapes = {path: got[path].shape for path in ("img/position", "txt/position")}
  assert shapes == {"img/position": (4, 16), "txt/position": (8, 16)}
  expected["img/position"] = positions.resize_grid(0)(
    expected["img/position"], (4, 16)
  )
  expected["txt/position"] = expected["txt/position"][:8]
  _assert_equal(got, expected)


def _error(changes):
  with pytest.raises(ValueError, match=r"--config\.init_") as caught:
    _read(changes)
  return str(caught.value)


def test_what_does_not_fit_is_listed(tmp_path):
  _published(
    tmp_path,
    {"data.vocab_size": 500, "model.image.depth": 3, "data.num_tokens": 4},
    head=np.zeros(3, np.float32),
  )
  error = _error({"init_from": str(tmp_path)})
  assert error.startswith(f"--config.init_from={tmp_path}: the weights do not")
  for words in (
    "txt.token_embedding: expected (512, 16) for txt/token_embedding; got (500",
    "txt.position: the weights have 4 text positions; expected at least",
    "left over",
    "img.blocks.2.",
  ):
    assert words in error
  assert "head" in _error(
    {
      "init_from": str(tmp_path),
      "data.vocab_size": 500,
      "model.image.depth": 3,
      "data.num_tokens": 4,
    }
  )


def test_an_exception_that_is_none(tmp_path):
  _published(tmp_path)
  changes = {"init_from": str(tmp_path), "init_except": ("bias", "img/x")}
  with pytest.raises(ValueError, match="init_except: 'img/x' matches no param"):
    _read(changes)


def test_a_tower_that_is_not_there(tmp_path):
  _published(tmp_path, without=["text"])
  error = _error({"init_from": str(tmp_path)})
  assert "no text tower in it; use --config.init_image_from" in error
  assert "no text tower" in _error({"init_text_from": str(tmp_path)})
  assert "does not exist" in _error({"init_from": str(tmp_path / "no")})


def test_settings_that_differ_are_said(tmp_path, capsys):
  _published(tmp_path, {"model.text.activation": "quick_gelu"})
  _read({"init_image_from": str(tmp_path)})
  assert "another model" not in capsys.readouterr().err
  _read({"init_text_from": str(tmp_path), "model.text.dropout": 0.5})
  said = capsys.readouterr().err
  assert (
    "is of another model: model.text.activation is 'gelu_tanh' in the run,"
    " 'quick_gelu' there\n"
  ) in said


def test_both_towers_and_one():
  changes = {"init_from": "a", "init_text_from": "b"}
  with pytest.raises(ValueError, match="init_from is for both .*'b'"):
    runs.make_config(changes)


def test_an_exception_that_is_no_regex():
  with pytest.raises(ValueError, match=r"init_except: '\(' is no regular exp"):
    runs.make_config({"init_except": ("(",)})


@pytest.mark.slow
def test_of_a_run(tmp_path, capsys):
  reference = tmp_path / "source"
  saved = fresh_run.write(reference, runs.make_config())
  got = _read({"init_from": str(reference)}, _mesh((1, 2, 2)))
  _assert_equal(got, saved)
  assert "another model" not in capsys.readouterr().err

  image = _read({"init_image_from": str(reference), "data.image_size": 24})
  assert all(path.startswith("img/") for path in image)
  np.testing.assert_array_equal(
    image["img/position"],
    positions.resize_grid(0)(np.asarray(got["img/position"]), (9, 16)),
  )
  error = _error({"init_from": str(reference), "model.embed_dim": 8})
  assert "img/projection/kernel: expected (16, 8); got (16, 16)" in error
  error = _error({"init_from": str(reference), "model.text.projection": False})
  assert "1 left over: txt/projection/kernel" in error
  error = _error(
    {"init_from": str(reference), "model.image.projection_bias": True}
  )
  assert "1 missing: img/projection/bias" in error
  shutil.copytree(reference, tmp_path / "run")
  for step in (tmp_path / "run" / "checkpoints").iterdir():
    shutil.rmtree(step)
  error = _error({"init_from": str(tmp_path / "run")})
  assert "no checkpoint yet" in error


@pytest.mark.slow
def test_a_run_from_a_run(runner, reference, tmp_path):
  source = shutil.copytree(reference, tmp_path / "source")
  args = (
    f"--config.init_from={source}",
    # The first update of a warm-up changes nothing.
    "--config.optimizer.warmup_steps=1",
  )
  result = runner.run(tmp_path / "run", *args, "--config.total_steps=1")
  assert result.code == 0, result.stderr
  assert f"arrays from {source}" in result.stderr
  got, expected = (
    json.loads((folder / "results.json").read_text())
    for folder in (tmp_path / "run", reference)
  )
  assert got == expected
  # A run that goes on does not read it again.
  shutil.rmtree(source)
  result = runner.run(
    tmp_path / "run",
    *args,
    "--config.total_steps=2",
    "--config.evaluate.sets={}",
  )
  assert result.code == 0, result.stderr
  assert "checkpoint of step 1" in result.stderr


def test_a_source_that_is_not_there_leaves_no_run(tmp_path):
  config = runs.make_config({"init_from": str(tmp_path / "no")})
  with pytest.raises(ValueError, match=r"--config\.init_from=.*does not exist"):
    train.run(config, tmp_path / "run")
  assert not [*tmp_path.iterdir()]


def test_all_sources_that_are_not_there_are_named(tmp_path):
  config = runs.make_config(
    {
      "init_image_from": str(tmp_path / "no"),
      "init_text_from": str(tmp_path / "none.npz"),
      "mesh.data": 3,
      "data.sources.main.path": str(tmp_path / "*.tar"),
    }
  )
  with pytest.raises(ValueError, match="^4 problems") as raised:
    train.check(config, tmp_path / "run")
  said = str(raised.value)
  assert "--config.init_image_from=" in said
  assert "--config.init_text_from=" in said
  assert "data.sources.main.path matches no file" in said
  assert "mesh sizes must multiply" in said
  assert not (tmp_path / "run").exists()
