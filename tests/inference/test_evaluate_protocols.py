"""Named protocols in evaluations by name and by a config's sets."""

import json

import numpy as np
import pytest

from evaluators import embedding, protocols, summary
from inference import compare, evaluate, evaluate_sets
from inference import model as model_lib
from input_pipeline import model_inputs
from tests import runs
from tests.inference import fresh_run, wds_folders

NAMES = ("own", "datacomp", "big_vision")
LABELS = [i % 6 for i in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Return a folder with a run of random weights and two sets."""
  made = tmp_path_factory.mktemp("sets")
  fresh_run.write(made / "run", runs.make_config({}))
  wds_folders.classification(made / "wds_beasts", LABELS)
  (made / "wds_beasts" / "classnames.txt").write_text(
    "Ant_Hill\nBee (honey)\nCow, ox\nDog\nElk!\nFox\n"
  )
  wds_folders.retrieval(made / "wds_views", [[f"{i}a"] for i in range(9)])
  return made


@pytest.fixture(scope="module")
def results(folder):
  """Return results.json of each protocol, by one cache of embeddings."""

  def of(name):
    return _run(folder, folder / f"out-{name}", folder / "cache", name)

  return {name: of(name) for name in NAMES}


def _run(folder, out, cache, protocol):
  evaluate_sets.run(
    str(folder / "run"),
    suite="",
    names=[str(folder / f"wds_{name}") for name in ("beasts", "views")],
    data_root="",
    out=str(out),
    cache_dir=str(cache),
    batch_size=8,
    num_threads=2,
    protocol=protocol,
  )
  return json.loads((out / evaluate_sets.RESULTS).read_text())


def test_each_row_names_its_protocol(results):
  own = results["own"]
  for name, one in results.items():
    for key in ("beasts", "views"):
      said = one[key]["protocol"]
      assert said["name"] == name
      assert said["steps"]
      assert said["image_protocol"]["size"] == 16
      # The data are the same, whatever is made of them.
      assert said["data_digest"] == own[key]["protocol"]["data_digest"]
  said = {
    key: results["big_vision"][key]["protocol"] for key in ("beasts", "views")
  }
  assert said["beasts"]["image_protocol"]["resize_size"] == 18
  assert said["views"]["image_protocol"]["resize_size"] == 16
  assert (
    said["beasts"]["classes_digest"]
    != (own["beasts"]["protocol"]["classes_digest"])
  )
  assert said["beasts"]["canonicalisation"].startswith("lower case")


def test_figures_by_hand(folder, results):
  model = model_lib.load(folder / "run")
  inputs, embedder = model.make_inputs(), model.make_embedder(8)
  protocol = protocols.image_protocol(
    "big_vision", inputs.image_protocol, kind="classification"
  )
  zimg = embedder.images(
    model.params,
    np.stack(
      [
        protocol.apply(wds_folders.pixels(data))
        for data in wds_folders.noise(len(LABELS))
      ]
    ),
  )
  [kept] = [
    path.parent
    for path in (folder / "cache").rglob("facts.json")
    if model_inputs.protocol_of(json.loads(path.read_text())["image_protocol"])
    == protocol
  ]
  with np.load(next(kept.glob("*.npz"))) as part:
    # Batches of equal shape: the same program.
    np.testing.assert_array_equal(part["zimg_NE"], zimg)
  prompts = [
    template.format(name)
    for name in ("ant hill", "bee honey", "cow", "dog", "elk", "fox")
    for template in ("a {}", "the {}")
  ]
  ztxt = embedder.texts(model.params, inputs.tokenizer(prompts))
  mean = ztxt.reshape(6, 2, -1).mean(axis=1)
  norm = np.linalg.norm(mean, axis=1, keepdims=True)
  right = (zimg @ (mean / norm).T).argmax(axis=1) == LABELS
  assert results["big_vision"]["beasts"]["top_1"] == right.mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_second_evaluation_embeds_nothing(
  folder, results, tmp_path, monkeypatch, name
):
  def refuse(*args, **kwargs):
    raise AssertionError("a forward pass")

  monkeypatch.setattr(embedding.Embedder, "stream", refuse)
  assert _run(folder, tmp_path, folder / "cache", name) == results[name]


def test_a_comparison_says_what_differs(folder, results, capsys):
  compare.run(str(folder / "out-own"), str(folder / "out-big_vision"))
  said = capsys.readouterr().err
  assert "beasts: the protocols differ in " in said
  assert "name (own, big_vision)" in said
  assert "image_protocol" in said
  assert "antialias (True, False)" in said
  assert "canonicalisation" in said
  compare.run(str(folder / "out-datacomp"), str(folder / "out-datacomp"))
  assert "differ" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_config_s_sets(tmp_path, shared_dir):
  """Sets of one source, whose images big_vision crops by what they are for."""
  changes = {
    "evaluate.holdout": 0.02,
    "data.cache_dir": str(shared_dir / "cache"),
  }
  fresh_run.write(tmp_path / "run", runs.make_config(changes))
  got = {}
  for name in ("own", "big_vision"):
    out = tmp_path / name
    evaluate.run(str(tmp_path / "run"), None, str(out), protocol=name)
    got[name] = json.loads((out / "results.json").read_text())
  own, named = got["own"], got["big_vision"]
  assert own.keys() == named.keys()
  assert own["zero_shot"].keys() == named["zero_shot"].keys() == {"skin_tone"}
  assert own[summary.INPUTS] == named[summary.INPUTS]
  for results, name, to in ((own, "own", None), (named, "big_vision", 16)):
    for key in ("compositional", "unseen_concept", "holdout"):
      said = results[key]["protocol"]
      assert said["name"] == name
      assert to in (None, said["image_protocol"]["resize_size"])
      assert results[key]["num_candidates"] == own[key]["num_candidates"]
  said = named["zero_shot"]["skin_tone"]["protocol"]
  assert said["name"] == "big_vision"
  assert said["image_protocol"]["resize_size"] == 18
  assert (
    said["prompts_digest"]
    != (own["zero_shot"]["skin_tone"]["protocol"]["prompts_digest"])
  )
