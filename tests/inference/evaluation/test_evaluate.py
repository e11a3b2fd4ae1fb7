"""Evaluation on a config's sets: what was embedded before stays on the disk."""

import csv
import json

import pytest

from configs.parts import sources
from evaluators import directions, embedding, embedding_cache
from evaluators.robustness import corruptions
from evaluators.sets import kinds
from inference.evaluation import evaluate, set_measures
from tests import runs
from tests.evaluators import test_results_schema
from tests.inference import fresh_run, wds_folders
from training import config as config_lib

_NUM = 40


def _table(folder, images):
  """Write a table of pictures with two captions each, in folders by class."""
  rows = []
  for number, image in enumerate(images):
    name = f"{'cat' if number % 3 else 'dog'}/{number}-{number % 3}-.png"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(image)
    rows += [(name, f"{number} {word}") for word in "ab"]
  with open(folder / "captions.csv", "w", newline="") as file:
    csv.writer(file).writerows([("image", "caption"), *rows])
  return sources.source(format="table", path=str(folder)).to_dict()


@pytest.fixture
def run(tmp_path):
  """Return a run that holds out of two tables, with two sets beside."""
  images = wds_folders.noise(_NUM + 20)
  one = _table(tmp_path / "one", images[:_NUM])
  other = _table(tmp_path / "other", images[30:])
  config = runs.make_config({"data.cache_dir": str(tmp_path / "cache")})
  values = config_lib.to_mapping(config)
  values["data"]["sources"] = {"one": one, "other": other}
  folder = sources.source(format="folder", path=str(tmp_path / "one"))
  values["evaluate"] |= {
    "holdout": 0.3,
    "batch_size": 8,
    "sets": {
      "all": kinds.retrieval(other),
      "shots": kinds.classification(
        folder.to_dict(), label="folder", training=str(tmp_path / "other")
      ),
      "digits": kinds.zero_shot(
        one,
        classes=("one", "two"),
        templates=("a {}", "{}."),
        label="key_part",
        label_values=("0", "1"),
        metrics=("top_1",),
      ),
    },
  }
  fresh_run.write(tmp_path / "run", config_lib.checked(values))
  return tmp_path / "run"


def _evaluated(run, *names, **fields):
  asked = set_measures.Measures(names, **fields)
  evaluate.run(str(run), asked=asked)
  return json.loads((run / "results.json").read_text())


@pytest.mark.slow
def test_a_second_evaluation_embeds_nothing(run, monkeypatch):
  first = _evaluated(run)
  assert {*first} == {
    *("all", "shots", "holdout", "holdout_one", "holdout_other", "inputs"),
    "zero_shot",
  }
  assert first["shots"]["num_examples"] == _NUM

  def refuse(*args, **kwargs):
    raise AssertionError("a forward pass")

  stream = embedding.Embedder.stream
  monkeypatch.setattr(embedding.Embedder, "stream", refuse)
  assert _evaluated(run) == first

  # Another caption of a held-out picture is other data.
  table = run.parent / "other" / "captions.csv"
  table.write_text(table.read_text().replace(" b", " bb"))
  with pytest.raises(AssertionError, match="a forward pass"):
    _evaluated(run)
  monkeypatch.setattr(embedding.Embedder, "stream", stream)
  changed = _evaluated(run)
  assert changed["shots"] == first["shots"]
  assert changed["holdout_one"] == first["holdout_one"]
  assert changed["all"]["text_to_image"] != first["all"]["text_to_image"]


@pytest.mark.slow
def test_goes_on_where_it_was_stopped(run, monkeypatch):
  whole = _evaluated(run)
  (run.parent / "cache" / "embeddings").rename(run.parent / "whole")
  monkeypatch.setattr(embedding_cache, "PART_SIZE", 8)
  stream, rows = embedding.Embedder.stream, []

  def killed(self, fn, params, batches, kind, **kwargs):
    if kind == "image" and len(rows) == 5:
      raise KeyboardInterrupt
    rows.append(kind)
    return stream(self, fn, params, batches, kind, **kwargs)

  monkeypatch.setattr(embedding.Embedder, "stream", killed)
  with pytest.raises(KeyboardInterrupt):
    _evaluated(run)
  parts = {*run.parent.glob("cache/embeddings/*/*.npz")}
  assert len(parts) == 5
  times = {path: path.stat().st_mtime_ns for path in parts}
  monkeypatch.setattr(embedding.Embedder, "stream", stream)
  assert _evaluated(run) == whole
  assert {path: path.stat().st_mtime_ns for path in parts} == times
  # One for each batch of each source, and none for sources together.
  more = len({*run.parent.glob("cache/embeddings/*/*.npz")})
  held = [
    whole[f"holdout_{name}"]["num_candidates"] for name in ("one", "other")
  ]
  assert more == sum(-(-num // 8) for num in (60, 2 * _NUM, _NUM, *held))


@pytest.mark.slow
def test_measures_of_all_kinds_of_sets(run, monkeypatch, capsys):
  monkeypatch.setattr(corruptions, "kinds", lambda frost: ("contrast",))
  names = ("knn", "calibration", "geometry", "corruptions", "texts")
  results = _evaluated(run, *names)
  test_results_schema.validate(results)
  shots, digits = results["shots"], results["zero_shot"]["digits"]
  for name in names:
    assert shots[name]["protocol"]["metric_version"], name
  assert shots["knn"]["protocol"]["num_train"] == 30
  assert shots["texts"]["clean"]["top_1"] == shots["top_1"]
  assert shots["corruptions"]["top_1"]["clean"] == shots["top_1"]
  assert digits["num_examples"] < shots["num_examples"] * 2  # keys with a 2
  assert digits["texts"]["num_examples"] == digits["num_examples"]
  assert digits["texts"]["clean"]["top_1"] == digits["top_1"]
  assert digits["corruptions"]["top_1"]["clean"] == digits["top_1"]
  assert digits["knn"]["not_run"].startswith("it needs a training split")
  for name in ("all", "holdout", "holdout_one"):
    record = results[name]
    hits = {x: record[x]["R@1"] for x in directions.NAMES}
    for direction, value in hits.items():
      clean = record["corruptions"][f"{direction}/R@1"]["clean"]
      assert clean == value, (name, direction)
    clean = record["texts"]["clean"]["text_to_image/R@1"]
    assert clean == hits["text_to_image"]
    assert record["geometry"]["num_examples"] == record["num_candidates"]
    assert "classification" in record["calibration"]["not_run"]
  printed = capsys.readouterr()
  assert "knn is not taken: it needs a training split" in printed.err
  assert "  knn: top_1 " in printed.out
  page = (run / "report.html").read_text()
  assert "<h2>Measures</h2>" in page
  assert page.count('class="range"') > 10
  assert "worst, picture to class" in page
  assert "worst, sentence to picture" in page

  stream = embedding.Embedder.stream
  monkeypatch.setattr(embedding.Embedder, "stream", lambda *_, **__: 1 / 0)
  assert _evaluated(run, *names) == results
  monkeypatch.setattr(embedding.Embedder, "stream", stream)
  trunk = _evaluated(run, "knn", features="trunk")["shots"]["knn"]
  assert trunk["protocol"]["features"].startswith("pooled output")

  with pytest.raises(ValueError, match="--measures must be one of linear_prob"):
    _evaluated(run, "probe")


@pytest.mark.slow
def test_a_measure_that_fits_no_set_embeds_nothing(run, monkeypatch):
  saved = json.loads((run / "config.json").read_text())
  del saved["config"]["evaluate"]["sets"]["shots"]
  (run / "config.json").write_text(json.dumps(saved))
  monkeypatch.setattr(embedding.Embedder, "stream", lambda *_, **__: 1 / 0)
  with pytest.raises(ValueError, match=r"knn fits none of the sets: all: it"):
    _evaluated(run, "knn")
