"""Run of the router alone, answers from it, and faults of its folder."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runtime import compilation_cache
from runtime import mesh as mesh_lib
from tests import tiny_questions
from tests.evaluators import test_results_schema
from tests.input_pipeline.questions import fixture
from training import config as config_lib
from training.objectives import routing
from training.run import workdir
from training.vqa import parts, router_run, run, runs


@pytest.fixture(autouse=True)
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
  """Give runs one device, and no cache of compiled programs."""
  made = functools.partial(mesh_lib.make_mesh, devices=jax.devices()[:1])
  monkeypatch.setattr(mesh_lib, "make_mesh", made)
  monkeypatch.setattr(compilation_cache, "enable", lambda folder: None)


def _config(kind: str, rad: pathlib.Path, **vqa: Any) -> config_lib.Config:
  values = tiny_questions.get_config(kind)
  values.vqa.update(path=str(rad), **vqa)
  return config_lib.checked(values.to_dict())


@pytest.mark.slow
def test_answers_use_the_router_of_a_run(tmp_path: pathlib.Path):
  rad, folder = fixture.write_rad(tmp_path / "rad"), tmp_path / "router"
  config = _config("router", rad)
  assert runs.of(config) is router_run
  router_run.check(config, folder)
  assert router_run.run(config, folder) == 0
  results = workdir.read_results(folder)
  test_results_schema.validate(results)
  assert [*results] == ["vqa_rad_validation", "vqa_rad"]
  record = results["vqa_rad_validation"]
  selected = record["protocol"]["selected"]
  assert selected["figure"] == "vqa_rad_validation/routing"
  assert selected["value"] == record["routing"]
  assert router_run.run(config, folder) == 0  # it is complete

  used = _config("qcr", rad, router_from=str(folder))
  run.check(used, tmp_path / "answers")
  words = json.loads((folder / parts.VOCABULARY).read_text())["words"]
  parts.check_words(used, words)
  mesh = mesh_lib.make_mesh(used.mesh)
  router = parts.read(used, mesh, len(words))
  assert [*router] == ["router"]
  init_params = routing.make(used, len(words)).init_params
  drawn = init_params(jax.random.key(used.seed))
  assert jax.tree.map(jnp.shape, router) == jax.tree.map(jnp.shape, drawn)
  moved = jax.tree.map(lambda x, y: bool(np.any(x != y)), router, drawn)
  # A unit that its ReLU cuts off keeps its bias; kernels all change.
  assert all(m["kernel"] for m in moved["router"]["maps"].values())


def test_faults_of_a_router_name_their_field(tmp_path: pathlib.Path):
  rad, folder = fixture.write_rad(tmp_path / "rad"), tmp_path / "router"
  ours = _config("qcr", rad, router_from=str(folder))

  def faults() -> str:
    with pytest.raises(ValueError, match=r"vqa\.") as error:
      parts.check_early(ours)
    return str(error.value)

  assert "which has no run" in faults()
  (folder / workdir.CHECKPOINTS / "4").mkdir(parents=True)
  workdir.write_config(folder, _config("qcr", rad))
  assert 'with vqa.trains="router"; got' in faults()
  theirs = _config("router", rad, num_tokens=9, legacy_protocol=True)
  model = dataclasses.replace(theirs.vqa.model, width=8)
  vqa = dataclasses.replace(theirs.vqa, model=model)
  workdir.write_config(folder, dataclasses.replace(theirs, vqa=vqa))
  for message in (
    "vqa.legacy_protocol must be that of vqa.router_from=",
    "vqa.num_tokens must be that of",
    "vqa.model.width must be that of",
  ):
    assert message in faults()
  workdir.write_config(folder, _config("router", rad))
  parts.check_early(ours)
  (folder / parts.VOCABULARY).write_text('{"words": ["is", "lung"]}')
  # Before step 0: nothing is left.
  with pytest.raises(ValueError, match=r"1 others \(lung\)") as error:
    run.run(ours, tmp_path / "answers")
  assert "vqa.router_from must be a run with the" in str(error.value)
  assert not (tmp_path / "answers").exists()
  (folder / parts.VOCABULARY).unlink()
  with pytest.raises(ValueError, match="cannot be read"):
    parts.check_words(ours, ["is"])


@pytest.mark.parametrize(
  ("kind", "vqa", "message"),
  [
    ("mevf", {"router_from": "runs/x"}, "vqa.router_from='runs/x'; got 'mevf'"),
    ("mevf", {"trains": "router"}, "with vqa.trains=\"router\"; got 'mevf'"),
    (
      "router",
      {"router_from": "runs/x"},
      'vqa.router_from must be "" with vqa.trains="router"',
    ),
    (
      "router",
      {"autoencoder_from": "runs/x"},
      'vqa.autoencoder_from must be "" with vqa.trains="router"',
    ),
  ],
)
def test_faults_of_the_config(kind, vqa, message, tmp_path):
  with pytest.raises(ValueError, match=r"vqa\.") as error:
    _config(kind, tmp_path, **vqa)
  assert message in str(error.value)


def test_a_router_has_no_towers_and_needs_questions(tmp_path):
  config = _config("router", tmp_path / "none")
  config = dataclasses.replace(config, init_from="model")
  with pytest.raises(ValueError, match="2 problems") as error:
    router_run.check(config, tmp_path / "run")
  assert 'init_from must be "" with vqa.trains="router"' in str(error.value)
  assert "vqa.path must be a folder" in str(error.value)
