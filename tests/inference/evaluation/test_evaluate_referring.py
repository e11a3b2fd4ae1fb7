"""Referring accuracy of a run, by --task=evaluate's code and by hand."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import inference
from configs.parts import domain
from evaluators import embedding
from evaluators.generating import places, referred
from evaluators.metrics.generation import referring
from evaluators.sets import expressions, kinds
from inference.evaluation import evaluate
from input_pipeline.regions import box_tokens
from runtime import mesh as mesh_lib
from tests.evaluators import test_results_schema
from tests.inference.evaluation import referring_runs
from tests.inference.generating import decoder_runs
from tests.input_pipeline.regions import fixture
from training import config as config_lib
from training import evaluation
from training.objectives import joint

_SIZE = (fixture.HEIGHT, fixture.WIDTH)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Return a run whose decoder writes ids by their place, and the ids."""
  folder = tmp_path_factory.mktemp("referring")
  config = config_lib.checked(referring_runs.make_values(folder).to_dict())
  vocabulary = config.data.regions.vocabulary(config.data.vocab_size)
  # Places 5 to 8 follow a text of 5 ids: a box with the sides 0, 0, 3/7, 3/7.
  # Behind one of 6 ids the last two sides are 3/7 and an id of text: no box.
  script = [2] * 5 + vocabulary.box_ids(np.array([0, 0, 3 / 7, 3 / 7])).tolist()
  script += [2] * (config.data.regions.num_tokens - len(script))
  # Places 9 to 12 follow "all of it": all of the part that is seen.
  script[9:13] = vocabulary.box_ids(np.array([0.0, 0, 1, 1])).tolist()
  decoder_runs.write(folder / "run", config, script)
  return folder / "run", config, script


@pytest.fixture(scope="module")
def model(run):
  return inference.Model.load(run[0], batch_size=8)


def _opened(path, folder):
  values = referring_runs.make_values(folder / "run")
  values.evaluate.sets.things.source.path = str(path)
  config = config_lib.checked(values.to_dict())
  return config.evaluate.generated_sets["things"].open("things", config.data)


def _expected(config, script, protocol):
  """Return (image, text, found, truth) of each expression, by the script."""
  vocabulary = config.data.regions.vocabulary(config.data.vocab_size)
  rows = []
  for index in range(fixture.NUM_EXAMPLES - 1):
    for text, box in (
      (f"red {index}", fixture.box(index)),
      ("all of it", [0, 0, fixture.WIDTH, fixture.HEIGHT]),
    ):
      start = len(text)  # an id a byte
      ids = np.array(script[start : start + box_tokens.NUM_SIDES])
      share_4, is_box = vocabulary.boxes(ids)
      found = places.to_pixels(protocol, _SIZE, share_4) if is_box else None
      rows.append((index, text, found, box))
  return rows


@pytest.mark.slow
def test_figures_are_those_of_the_ids_that_were_written(run, model, capsys):
  folder, config, script = run
  assert evaluate.run(str(folder)) == 0
  results = json.loads((folder / "results.json").read_text())
  test_results_schema.validate(results)
  record = results["things"]
  rows = _expected(config, script, model.image_protocol)
  none = (np.nan,) * 4
  iou = referring.ious(
    np.array([none if found is None else found for _, _, found, _ in rows]),
    np.array([truth for *_, truth in rows], float),
  )
  assert record["num_expressions"] == 2 * (fixture.NUM_EXAMPLES - 1)
  assert record["num_images"] == fixture.NUM_EXAMPLES - 1
  # "red 10" has 6 ids.
  assert record["num_broken"] == sum(found is None for _, _, found, _ in rows)
  assert record["num_broken"] == 1
  assert record["accuracy"] == np.mean(iou >= 0.5)
  # Boxes are right of the whole image, and of a rectangle in the upper left of
  # the part that is seen, of which there is one in five.
  assert 0.5 < record["accuracy"] < 0.75
  assert record["mean_iou"] == pytest.approx(iou.mean())
  protocol = record["protocol"]
  assert protocol["generation"] == {
    "method": "greedy",
    "num_bins": 8,
    "order": "yxyx",
    "num_tokens": 16,
    "num_texts_cut": 0,
  }
  assert protocol["num_examples"] == fixture.NUM_EXAMPLES
  assert protocol["num_without_region"] == 1
  assert protocol["image_protocol"]["size"] == 16
  assert len(protocol["decoder"]) == 32
  printed = capsys.readouterr().out
  assert "things" in printed
  assert f"{record['accuracy']:.3f} ({record['chance']['accuracy']:.3f})" in (
    printed
  )
  assert "whole image: accuracy" in printed


def test_rules_without_a_decoder(model, tmp_path):
  """Half of the expressions are of all of the image."""
  opened = _opened(fixture.write(tmp_path / "table"), tmp_path)
  record = referred.evaluate(opened, model.captioner).record
  baselines = record["baselines"]
  assert {*baselines} == {referred.WHOLE, referred.CENTRE, referred.WRITABLE}
  # A red rectangle has 10 x 12 of 32 x 24 pixels.
  assert baselines[referred.WHOLE] == {
    "accuracy": 0.5,
    "mean_iou": pytest.approx((1 + 120 / (32 * 24)) / 2),
  }
  assert baselines[referred.CENTRE]["accuracy"] < 0.5
  # 8 bins and a square cut of 24 x 24 of the picture still show most boxes.
  assert 0.5 < baselines[referred.WRITABLE]["accuracy"] <= 1


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"boxes": [[0, 0, 0, 9]], "names": ["x"]}, "region 0 .* some area"),
    ({"boxes": [[0, 0, 9, 9]], "names": [" "]}, "region 0 has no text"),
    ({"boxes": [], "names": []}, "things.* no image has a region"),
  ],
)
def test_annotations_that_cannot_be_used(model, tmp_path, changes, message):
  path = fixture.write(tmp_path / "broken", **changes)
  opened = _opened(path, tmp_path)
  with pytest.raises(ValueError, match=message):
    referred.evaluate(opened, model.captioner)


def test_splits_are_reported_one_by_one(model, tmp_path):
  """Both are the same table here, of which one has two images."""
  path = fixture.write(tmp_path / "table")
  lines = path.read_text().splitlines(keepends=True)
  (whole,) = _opened(path, tmp_path).splits.values()
  path = path.with_name("few.jsonl")
  path.write_text("".join(lines[:2]))
  (few,) = _opened(path, tmp_path).splits.values()
  opened = expressions.Expressions({"val": whole, "testA": few}, 1, "set")
  outcome = referred.evaluate(opened, model.captioner)
  parts = outcome.record["parts"]
  assert {k: x["num_expressions"] for k, x in parts.items()} == {
    "testA": 4,
    "val": 22,
  }
  # A picture of both splits is one picture.
  assert outcome.record["num_images"] == 11
  assert outcome.record["num_expressions"] == 26
  firsts = [x for x in outcome.examples if x.text == "red 1"]
  assert [x.split for x in firsts] == ["val", "testA"]
  assert firsts[0].found == firsts[1].found
  alone = referred.evaluate(
    dataclasses.replace(opened, splits={"": whole}), model.captioner
  ).record
  assert parts["val"]["accuracy"] == alone["accuracy"]


def test_an_evaluation_that_is_told_to_stop(model, tmp_path):
  opened = _opened(fixture.write(tmp_path / "table"), tmp_path)
  with pytest.raises(embedding.Interrupted, match="after 8 expressions"):
    referred.evaluate(opened, model.captioner, lambda: True)


def test_sections_that_cannot_be_used(tmp_path):
  values = referring_runs.make_values(tmp_path)
  source = values.evaluate.sets.things.source.to_dict()
  for changes, message in (
    (
      {"evaluate.sets.things.source.region_fields": ()},
      "evaluate.sets.things.source.region_fields must locate",
    ),
    (
      {"data.regions.probabilities": (1.0, 0.0, 0.0)},
      "things needs a decoder that learned boxes of texts",
    ),
    ({"decoding.weight": 0.0}, "things needs a decoder, which writes boxes"),
    ({"evaluate.sets.things.splits": ("a", "a")}, "names that differ"),
  ):
    changed = values.copy_and_resolve_references()
    changed.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
      config_lib.checked(changed.to_dict())
  values.evaluate.sets.things = kinds.referring(
    source | {"split": "val"}, splits=("testA",)
  )
  with pytest.raises(ValueError, match=r"splits must be \(\) beside"):
    config_lib.checked(values.to_dict())


@pytest.mark.slow
def test_an_evaluation_within_training_has_the_same_figures(run, model):
  """Devices are other ones too: two rows of two."""
  folder, config, _ = run
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 2, 1), jax.devices()[:4])
  whole = mesh_lib.replicated(mesh)
  variables = jax.device_put(
    {**model.loaded.params, joint.DECODER: model.captioner.decoder.params},
    whole,
  )
  evaluator = evaluation.make(
    *(config, mesh, lambda: False, model.loaded.make_inputs()), folder=folder
  )
  results, _, scalars = evaluator.final(variables)
  record = results["things"]
  opened = config.evaluate.generated_sets["things"].open("things", config.data)
  assert record == referred.evaluate(opened, model.captioner).record
  assert scalars == {
    "things/accuracy": record["accuracy"],
    "things/mean_iou": record["mean_iou"],
  }
  assert evaluator.scalars(variables, 0.0) == scalars
  # A sample has no such figures; the last evaluation has them.
  part = dataclasses.replace(evaluator.data, is_sample=True).sample(2)
  assert not part.generated


def test_refcoco_by_its_splits(model, tmp_path):
  """The last side of RefCOCO's boxes is a height."""
  folder = fixture.write(tmp_path / "refcoco").parent
  refs, annotations = [], []
  for index in range(6):
    left, top, right, bottom = fixture.box(index)
    box = [left, top, right - left, bottom - top]
    annotations.append({"id": index, "image_id": index, "bbox": box})
    refs.append(
      {
        **{"ann_id": index, "image_id": index},
        "split": ("val", "testA", "testB")[index % 3],
        "sentences": [{"sent": f"red {index}"}] * (1 + index % 2),
      }
    )
  (folder / "refs(unc).json").write_text(json.dumps(refs))
  images = [{"id": x, "file_name": f"{x}.png"} for x in range(6)]
  content = {"images": images, "annotations": annotations}
  (folder / "instances.json").write_text(json.dumps(content))
  values = referring_runs.make_values(tmp_path / "run")
  source = domain.source(
    "regions.refcoco",
    path=str(folder),
    region_fields=(("boxes", "boxes"), ("texts", "box_texts")),
  )
  splits = ("val", "testA", "testB")
  values.evaluate.sets.things = kinds.referring(source, splits=splits)
  config = config_lib.checked(values.to_dict())
  section = config.evaluate.generated_sets["things"]
  opened = section.open("things", config.data)
  outcome = referred.evaluate(opened, model.captioner)
  assert {*outcome.record["parts"]} == {*splits}
  assert outcome.record["num_expressions"] == 9
  assert {x.text: [*x.truth] for x in outcome.examples} == {
    f"red {index}": fixture.box(index) for index in range(6)
  }
  # Expressions of one split are those of the split's images alone.
  iou_N = referring.ious(
    np.array([x.found for x in outcome.examples if x.split == "testA"]),
    np.array([x.truth for x in outcome.examples if x.split == "testA"], float),
  )
  found = outcome.record["parts"]["testA"]
  assert found["num_images"] == 2
  assert found["mean_iou"] == pytest.approx(iou_N.mean())


_LEARNING = """
import pathlib
from tests.inference.evaluation import referring_runs

def get_config():
  values = referring_runs.make_values(pathlib.Path({folder!r}))
  values.total_steps = 600
  values.log_every_steps = 100
  values.checkpoint.every_steps = 600
  values.optimizer.learning_rate = 5e-3
  values.data.regions.probabilities = (0.0, 1.0, 0.0)
  values.decoding.weight = 10.0
  return values
"""


@pytest.mark.long
def test_a_run_learns_boxes(runner, tmp_path):
  """Targets and figures share their boxes: 0.95 was reached; 40 s of CPU."""
  config = tmp_path / "config.py"
  config.write_text(_LEARNING.format(folder=str(tmp_path)))
  process = runner.start(tmp_path / "run", config=str(config))
  _, said = process.communicate(timeout=600)
  assert process.returncode == 0, said
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  record = results["things"]
  # All of the image is right for half of the expressions.
  assert record["accuracy"] >= 0.8
  assert record["accuracy"] > record["chance"]["accuracy"]
  assert record["baselines"][referred.WHOLE]["accuracy"] == 0.5
