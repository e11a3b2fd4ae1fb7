"""Model cards: what the run records is said, and nothing else."""

import dataclasses
import json

import numpy as np
import pytest
import yaml

from inference import export
from inference import model as model_lib
from inference.exporting import model_card
from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import rules, tokenizer
from models import dual_encoder
from tests import runs
from tests.inference import fresh_run
from training.run import workdir

_INTERVAL = [0.61, 0.71]
_GROUPS = [{"name": "left|right", "n": 7, "mean": 0.5, "interval": [0.2, 0.8]}]
_RESULTS = {
  "inputs": {"image_protocol": {}, "tokenizer": {}, "selected": {"step": 3}},
  "compositional": {
    "num_candidates": 304,
    "image_to_text": {"R@1": 0.6602, "intervals": {"R@1": _INTERVAL}},
    "text_to_image": {"R@1": 0.5},
  },
  "skin": {
    "kind": "classification",
    "num_classes": 5,
    "top_1": 0.4,
    "chance": {"top_1": 0.2},
    "intervals": {"top_1": [0.3, 0.5]},
    "groups": {"side": _GROUPS},
    "gaps": {"side": {}},
  },
  "zero_shot": {"places": {"not_run": "no class has an image"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Return the folder of a run whose data were curated."""
  folder = tmp_path_factory.mktemp("run")
  curated = folder / "curated"
  curated.mkdir()
  manifest = {
    "num_pairs": 100,
    "num_kept": 40,
    "steps": [
      {"op": "min_words", "parameters": {"num": 3}, "in": 90, "kept": 40}
    ],
  }
  (curated / "manifest.json").write_text(json.dumps(manifest))
  config = runs.make_config(
    {"data.sources.main.templates": ("a drawing of {}",)}
  )
  main = config.data.sources["main"]
  kept = dataclasses.replace(main, keep=str(curated / "selection.npy"))
  data = dataclasses.replace(config.data, sources={"main": kept, "other": main})
  fresh_run.write(folder / "run", dataclasses.replace(config, data=data))
  return folder / "run"


@pytest.fixture(scope="module")
def model(folder):
  return model_lib.load(folder)


def _sections(text):
  """Return the front matter, and the lines of each section by its title."""
  _, matter, body = text.split("---\n", 2)
  parts = body.split("\n## ")[1:]
  return yaml.safe_load(matter), {
    title: rest.strip().splitlines()
    for title, _, rest in (part.partition("\n") for part in parts)
  }


def test_a_run_says_what_it_records(folder, model):
  (folder / workdir.RESULTS).write_text(json.dumps(_RESULTS))
  text = model_card.Card(model, "hf", "cc-by-4.0").text("exported")
  (folder / workdir.RESULTS).unlink()
  matter, said = _sections(text)
  assert matter == {
    "license": "cc-by-4.0",
    "library_name": "transformers",
    "pipeline_tag": "zero-shot-image-classification",
  }
  data = "\n".join(said["Data"])
  assert "`main`: format emoji, split `train`, keep `" in data
  assert "  - Curation: 40 of 100 pairs kept" in said["Data"]
  assert "  - Curation: min_words (num 3): 40 of 90" in said["Data"]
  assert said["Data"][-1] == "  - Curation: not recorded"
  training = "\n".join(said["Training"])
  for words in ("Start: from scratch", "Steps: 3 of 40, batch 16", "sigmoid"):
    assert words in training
  assert (
    "- Templates of captions in training: `a drawing of {}`" in (said["Inputs"])
  )
  assert said["Licence"] == ["Licence of the weights: cc-by-4.0."]
  assert said["Figures"] == [
    "| set | of | figure | value | 95 % interval | chance |",
    "|---|---|---|---|---|---|",
    "| compositional image to text | 304 | R@1 | 0.660 | 0.610 to 0.710 |"
    " 0.003 |",
    "| compositional text to image | 304 | R@1 | 0.500 | not recorded | 0.003"
    " |",
    "| skin classification | 5 | top-1 | 0.400 | 0.300 to 0.500 | 0.200 |",
    "| zero shot places | | not run: no class has an image | | | |",
    "",
    "| set | attribute | group | n | top-1 | 95 % interval |",
    "|---|---|---|---|---|---|",
    "| skin | side | left\\|right | 7 | 0.500 | 0.200 to 0.800 |",
  ]


@pytest.mark.parametrize(
  ("results", "alpha", "reason"),
  [
    (None, 1.0, "the run has no results.json"),
    (_RESULTS, 0.5, "those of the run are not of these weights"),
    ({}, 1.0, "results.json is of step 40, these weights are of step 3"),
  ],
)
def test_figures_of_other_weights_are_not_said(
  folder, model, results, alpha, reason
):
  if results is not None:
    (folder / workdir.RESULTS).write_text(json.dumps(results))
  text = model_card.Card(model, "onnx", alpha=alpha).text("exported")
  (folder / workdir.RESULTS).unlink(missing_ok=True)
  matter, said = _sections(text)
  assert "license" not in matter
  assert said["Licence"] == ["Licence of the weights: not stated."]
  assert said["Figures"] == [f"Figures: not recorded ({reason})."]
  assert ("0.5 of the way" in text) == (alpha == 0.5)


def test_published_weights_have_no_recipe(model):
  config = dataclasses.replace(model.config, text=None)
  rule = dataclasses.replace(rules.run(16), clean="none")
  made = tokenizer.Tokenizer(bytes_lib.Bytes(), rule)
  published = dataclasses.replace(
    model,
    family="hf_vit",
    config=config,
    params={"img": {"kernel": np.zeros((3, 4))}},
    make_tokenizer=lambda: made,
    step=None,
  )
  assert isinstance(config, dual_encoder.ModelConfig)
  matter, said = _sections(model_card.Card(published, "hf").text("exported"))
  assert matter["pipeline_tag"] == "image-feature-extraction"
  assert said["Data"] == ["Training data: not recorded."]
  assert said["Training"] == ["Recipe: not recorded."]
  assert "- Origin: published weights, read as hf_vit" in said["Model"]
  assert "- Parameters: 12" in said["Model"]
  assert not any("Logits" in line for line in said["Model"])
  assert not any("Tokenizer" in line for line in said["Inputs"])


def test_every_folder_has_a_card(folder, tmp_path):
  """The run is no CLIP: one that is one."""
  changes = {
    "model.image.projection": False,
    "model.text.pool": "last",
    "model.text.mask_padding": False,
    "model.text.projection_bias": True,
  }
  fresh_run.write(tmp_path / "run", runs.make_config(changes))
  for form, words in (("hf", "AutoModel"), ("open_clip", "local-dir:")):
    export.run(tmp_path / "run", form, str(tmp_path / form))
    text = (tmp_path / form / model_card.NAME).read_text()
    assert words in text
    assert f"\n# {form}\n" in text
