"""Sets by name: figures of kept embeddings, whatever ended in between."""

import csv
import json
import shutil
import struct

import jsonschema
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from evaluators import directions, embedding, embedding_cache
from inference import model as model_lib
from inference.evaluation import compare, evaluate_sets
from tests import runs
from tests.evaluators import test_results_schema
from tests.inference import fresh_run, wds_folders
from tests.inference.evaluation import conftest


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
  monkeypatch.setattr(embedding_cache, "PART_SIZE", 8)


def _run(folder, out, cache, names=("beasts", "views")):
  evaluate_sets.run(
    str(folder / "run"),
    suite="",
    names=[str(folder / f"wds_{name}") for name in names],
    data_root="",
    out=str(out),
    cache_dir=str(cache),
    batch_size=8,
    num_threads=2,
  )
  return json.loads((out / evaluate_sets.RESULTS).read_text())


def _bytes(out):
  """Return files of JSON and Markdown; the page names its folder."""
  return {
    str(path.relative_to(out)): path.read_bytes()
    for path in sorted(out.rglob("*"))
    if path.suffix in (".json", ".md")
  }


def test_figures_by_hand(folder, tmp_path):
  results = _run(folder, tmp_path / "out", tmp_path / "cache")
  model = model_lib.load(folder / "run")
  inputs, embedder = model.make_inputs(), model.make_embedder(8)
  prompts = [
    template.format(name)
    for name in ("ant", "bee", "cow", "dog", "elk", "fox")
    for template in ("a {}", "the {}.")
  ]
  images = np.stack(
    [
      inputs.image_protocol.apply(wds_folders.pixels(data))
      for data in wds_folders.noise(len(conftest.LABELS))
    ]
  )
  zimg = embedder.images(model.params, images)
  ztxt = embedder.texts(model.params, inputs.tokenizer(prompts))
  mean = ztxt.reshape(6, 2, -1).mean(axis=1)
  score = zimg @ (mean / np.linalg.norm(mean, axis=1, keepdims=True)).T
  labels = np.array(conftest.LABELS)
  beasts = results["beasts"]
  assert beasts["top_1"] == np.mean(score.argmax(axis=1) == labels)
  own = score[np.arange(len(labels)), labels]
  rank = (score > own[:, None]).sum(axis=1)
  assert beasts["top_5"] == np.mean(rank < 5)
  assert beasts["num_examples"] == len(conftest.LABELS)
  assert beasts["chance"]["top_1"] == pytest.approx(1 / 6)
  low, high = beasts["intervals"]["top_1"]
  assert 0 <= low <= beasts["top_1"] <= high <= 1

  images = np.stack(
    [
      inputs.image_protocol.apply(wds_folders.pixels(data))
      for data in wds_folders.noise(len(conftest.CAPTIONS))
    ]
  )
  texts = [text for some in conftest.CAPTIONS for text in some]
  owners = [i for i, some in enumerate(conftest.CAPTIONS) for _ in some]
  by_hand = directions.evaluate(
    embedder.images(model.params, images),
    embedder.texts(model.params, inputs.tokenizer(texts)),
    texts,
    model.mesh,
    owners=owners,
  )
  views = results["views"]
  assert views["num_texts"] == len(texts)
  for direction, figures in by_hand.items():
    for name, value in figures.items():
      assert views[direction][name] == value, (direction, name)


def test_a_row_says_how_it_came_about(folder, tmp_path):
  results = _run(folder, tmp_path / "out", tmp_path / "cache")
  protocol = results["beasts"]["protocol"]
  for field in (
    *("metric_version", "image_protocol", "dtype", "data_digest"),
    *("num_examples", "templates_digest", "classes_digest", "labels_digest"),
  ):
    assert protocol[field] not in (None, ""), field
  assert results["model"]["digest"]
  assert results["model"]["step"] == 3
  table = (tmp_path / "out" / "results.md").read_text()
  assert f"| beasts | top_1 | {results['beasts']['top_1']:.3f} |" in table
  page = (tmp_path / "out" / "report.html").read_text()
  assert [page.count(f'id="set-{i}"') for i in (1, 2, 3)] == [1, 1, 0]
  assert "Most confused" in page
  assert f"{results['views']['text_to_image']['R@5']:.3f}" in page
  details = json.loads((tmp_path / "out" / "sets" / "beasts.json").read_text())
  assert [row["n"] for row in details["per_class"]] == [3, 3, 2, 2, 2, 1]
  assert sum(count for _, _, count in details["confusion"]) == len(
    conftest.LABELS
  )
  with (tmp_path / "out" / "sets" / "beasts.classes.csv").open() as file:
    rows = [*csv.DictReader(file)]
  names = [row["class"] for row in rows]
  assert names == ["ant", "bee", "cow", "dog", "elk", "fox"]
  assert [int(row["n"]) for row in rows] == [3, 3, 2, 2, 2, 1]
  assert [row["recall"] or None for row in rows] == [
    str(row["recall"]) for row in details["per_class"]
  ]
  # A sample and the worst of both sets, pictures and all.
  assert page.count(": worst, ") == 3
  # Examples, each once in both panels, and 6 answers at most to a caption.
  assert page.count('src="data:image/png') >= 2 * 10
  assert "http" not in page
  with np.load(tmp_path / "out" / "items" / "beasts.npz") as items:
    assert items["top_1"].mean() == results["beasts"]["top_1"]
    keys = json.loads(items["top_1/keys"].tobytes())
  assert keys == [f"s{row:07d}" for row in range(len(conftest.LABELS))]


def test_events_of_tensorboard(folder, tmp_path):
  # Other tests evaluate the run on other sets.
  shutil.rmtree(folder / "run" / "tensorboard", ignore_errors=True)
  results = _run(folder, tmp_path / "out", tmp_path / "cache")
  _run(folder, tmp_path / "out", tmp_path / "cache")
  files = [*(folder / "run" / "tensorboard" / "sets").iterdir()]
  assert len(files) == 1  # the second replaces those of the first
  scalars = {}
  data = files[0].read_bytes()
  while data:
    (size,) = struct.unpack("<Q", data[:8])
    event = event_pb2.Event.FromString(data[12 : 12 + size])
    data = data[16 + size :]
    for value in event.summary.value:
      scalars[value.tag] = event.step, value.simple_value
  assert scalars["beasts/top_1"] == (
    3,
    pytest.approx(results["beasts"]["top_1"]),
  )
  views = results["views"]["text_to_image"]
  # TensorBoard's tags have no "@".
  assert scalars["views/text_to_image/R_5"][1] == pytest.approx(views["R@5"])
  assert not [x for x in scalars if "chance" in x or "intervals" in x]


def test_the_results_have_the_schema(folder, tmp_path):
  results = _run(folder, tmp_path / "out", tmp_path / "cache")
  test_results_schema.validate(results)
  results["beasts"]["top"] = 0.5
  with pytest.raises(jsonschema.ValidationError):
    test_results_schema.validate(results)


def test_a_second_evaluation_embeds_nothing(folder, tmp_path, monkeypatch):
  _run(folder, tmp_path / "one", tmp_path / "cache")

  def refuse(*args, **kwargs):
    raise AssertionError("a forward pass")

  monkeypatch.setattr(embedding.Embedder, "stream", refuse)
  _run(folder, tmp_path / "two", tmp_path / "cache")
  assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5])
def test_goes_on_where_it_was_stopped(folder, tmp_path, monkeypatch, calls):
  _run(folder, tmp_path / "whole", tmp_path / "cache")
  real, left = embedding_cache._write, [calls]

  def write(*args):
    if not left[0]:
      raise KeyboardInterrupt
    left[0] -= 1
    real(*args)

  with monkeypatch.context() as patch:
    patch.setattr(embedding_cache, "_write", write)
    try:
      _run(folder, tmp_path / "out", tmp_path / "other")
      assert calls > 3  # there are four parts
    except KeyboardInterrupt:
      assert not (tmp_path / "out" / "results.json").exists()
  _run(folder, tmp_path / "out", tmp_path / "other")
  assert _bytes(tmp_path / "whole") == _bytes(tmp_path / "out")


def test_other_data_are_embedded_anew(folder, tmp_path):
  cache = tmp_path / "cache"
  first = _run(folder, tmp_path / "out", cache, names=("beasts",))
  other = tmp_path / "wds_beasts"
  wds_folders.classification(other, conftest.LABELS[::-1])
  (tmp_path / "run").symlink_to(folder / "run")
  second = _run(tmp_path, tmp_path / "other", cache, names=("beasts",))
  digests = [r["beasts"]["protocol"]["data_digest"] for r in (first, second)]
  assert digests[0] != digests[1]


def test_all_that_is_wrong_is_said_before_the_model_is_read(folder, tmp_path):
  wds_folders.classification(tmp_path / "wds_odd", (0, 9))
  wds_folders.classification(tmp_path / "wds_bare", (0, 1))
  (tmp_path / "wds_bare" / "zeroshot_classification_templates.txt").write_text(
    "a photo"
  )
  with pytest.raises(ValueError, match=r"^\d problems") as raised:
    evaluate_sets.run(
      "no model",
      suite="",
      names=[str(tmp_path / "wds_odd"), str(tmp_path / "wds_bare")],
      data_root="",
      out=str(tmp_path / "out"),
      cache_dir=str(tmp_path / "cache"),
      batch_size=8,
      num_threads=1,
    )
  said = str(raised.value)
  assert "9" in said
  assert "{c}" in said
  assert not (tmp_path / "out").exists()


def test_two_models_are_compared(folder, tmp_path, capsys):
  other = tmp_path / "other"
  params = fresh_run.write(other / "run", runs.make_config({}), bias=1.0)
  assert params
  for name in ("wds_beasts", "wds_views"):
    (other / name).symlink_to(folder / name)
  a = _run(folder, tmp_path / "a", tmp_path / "cache")
  b = _run(other, tmp_path / "b", tmp_path / "cache")
  # The bias is in no embedding, but another model's digest is another.
  assert a["model"]["digest"] != b["model"]["digest"]
  capsys.readouterr()
  compare.run(
    str(tmp_path / "a"), str(tmp_path / "b"), out=str(tmp_path / "out")
  )
  table = capsys.readouterr().out
  assert "| beasts | top_1 |" in table
  compared = json.loads((tmp_path / "out" / "comparison.json").read_text())
  for figure in ("top_1", "top_5", "mean_per_class"):
    row = compared["sets"]["beasts"][figure]
    assert row["a"] == pytest.approx(a["beasts"][figure])
    assert row["difference"] == 0
    assert ("p_mid" in row) == (figure != "mean_per_class")
  row = compared["sets"]["views"]["text_to_image/R@5"]
  assert row["a"] == pytest.approx(a["views"]["text_to_image"]["R@5"])
  assert row["num_items"] == sum(map(len, conftest.CAPTIONS))


def test_other_data_are_not_compared(folder, tmp_path):
  _run(folder, tmp_path / "a", tmp_path / "cache", names=("beasts",))
  wds_folders.classification(tmp_path / "wds_beasts", conftest.LABELS[:-1])
  (tmp_path / "run").symlink_to(folder / "run")
  _run(tmp_path, tmp_path / "b", tmp_path / "cache", names=("beasts",))
  with pytest.raises(ValueError, match="beasts has other data in .*12\\)$"):
    compare.run(str(tmp_path / "a"), str(tmp_path / "b"))
  with pytest.raises(ValueError, match=r"--results=.* has no results\.json"):
    compare.run(str(tmp_path / "a"), str(tmp_path / "none"))
