"""Classification of pictures: tables, calibration, and what is refused."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import inference
from configs.curate import fields
from curation import recipe, runner
from inference.classifying import (
  calibrate,
  calibration_file,
  classify,
  label_embeddings,
  labels,
  request,
)
from tests import runs
from tests.inference import fresh_run

LABELS = ("cat", "dog", "owl")
TEMPLATES = "a drawing of a {}."
NUM = 40


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  """Return the folder of a run for each loss."""
  folders = {}
  for loss in ("softmax", "sigmoid"):
    folders[loss] = tmp_path_factory.mktemp(loss) / "run"
    config = runs.make_config({"loss.name": loss})
    fresh_run.write(folders[loss], config, bias=-1.5)
  return folders


@pytest.fixture(autouse=True)
def loaded_once(models, monkeypatch):
  """Load and compile a model once for all tests."""
  load = inference.Model.load

  def cached(path, **options):
    assert options == {"batch_size": 16}
    if path not in _LOADED:
      _LOADED[path] = load(path, **options)
    return _LOADED[path]

  monkeypatch.setattr(inference.Model, "load", cached)


_LOADED: dict[str, inference.Model] = {}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Return a folder with pictures in folders cat and dog; one is broken."""
  folder = tmp_path_factory.mktemp("photos")
  for n in range(NUM):
    below = folder / ("cat" if n % 2 else "dog")
    below.mkdir(exist_ok=True)
    pixels = np.random.default_rng(n).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(below / f"{n:02d}.png")
  (folder / "cat" / "99.png").write_bytes(b"GIF")
  return folder


@pytest.fixture(scope="module")
def similarity(models, photos):
  """Return cosines of the pictures that can be read, by path and label."""
  model = inference.Model.load(str(models["softmax"]), batch_size=16)
  paths = [path for path in _paths(photos) if path.name != "99.png"]
  found = model.classify(paths, LABELS, [TEMPLATES])
  return dict(zip(map(str, paths), found.similarity_NA, strict=True))


@pytest.fixture(scope="module")
def table(photos, similarity):
  """Return a table of the pictures: those most like a cat have the label."""
  ranked = sorted(similarity, key=lambda path: -similarity[path][0])
  tags = {path: ["cat"] for path in ranked[:12]}
  ranked = sorted(similarity, key=lambda path: -similarity[path][1])
  for path in ranked[:15]:
    tags.setdefault(path, []).append("dog")
  ranked = sorted(similarity)
  for path in ranked[::4]:  # like nothing
    tags.setdefault(path, []).append("owl")
  file = photos.parent / "table.csv"
  with open(file, "w", newline="") as lines:
    writer = csv.writer(lines)
    writer.writerow(["image", "caption", "key", "tags"])
    for n, path in enumerate(map(str, _paths(photos))):
      row = [path, f"caption {n}", f"{n:032x}", ";".join(tags.get(path, []))]
      writer.writerow(row)
  return file


def _paths(photos):
  return sorted(photos.glob("*/*.png"))


def _wanted(out, **values):
  fields = {
    "images": "",
    "labels": LABELS,
    "labels_from": ",".join(LABELS),
    "templates": TEMPLATES,
    "background": "",
    "columns": "",
    "truth": "",
    "is_multi": False,
    "recursive": True,
    "batch_size": 16,
    "cache_dir": str(out.parent / "cache"),
  }
  given = {
    k: v if isinstance(v, bool | tuple) else str(v) for k, v in values.items()
  }
  return request.Wanted(out=str(out), **(fields | given))


def _run(path, out, choices=None, as_json=False, **values):
  wanted = _wanted(out, **values)
  given = {
    "threshold": None,
    "num_results": 2,
    "scores": "",
    "calibration": "",
    "allow_unknown_truth": False,
  } | (choices or {})
  return classify.run(
    str(path), wanted, classify.Choices(**given), as_json=as_json
  )


def _calibrate(path, out, method="platt", target="f1", **values):
  wanted = _wanted(out, **({"is_multi": True, "truth": "tags"} | values))
  return calibrate.run(str(path), wanted, method=method, target=target)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_rows_are_those_of_the_model(loss, models, photos, tmp_path, capsys):
  out = tmp_path / "out.parquet"
  chosen = {"threshold": 0.4, "scores": "owl"}
  _run(models[loss], out, chosen, images=photos, truth="folder")
  rows = pq.read_table(out).to_pylist()
  paths = _paths(photos)
  assert [row["image_path"] for row in rows] == [str(path) for path in paths]
  broken = rows.pop([path.name for path in paths].index("99.png"))
  assert broken.pop("error").startswith("image_broken: ")
  assert broken.pop("truth") == "cat"
  del broken["image_path"]
  assert {*broken.values()} == {None}
  model = inference.Model.load(str(models[loss]), batch_size=16)
  good = [row["image_path"] for row in rows]
  found = model.classify(good, LABELS, [TEMPLATES])
  for row, top, p_A, sim_A in zip(
    rows, found.top(2), found.probability_NA, found.similarity_NA, strict=True
  ):
    assert row["top_labels"] == [label for label, _ in top]
    np.testing.assert_allclose(
      row["top_probabilities"], [p for _, p in top], atol=1e-5
    )
    best = LABELS.index(top[0][0])
    assert row["similarity"] == pytest.approx(sim_A[best], abs=1e-5)
    assert row["score_owl"] == pytest.approx(p_A[2], abs=1e-5)
    assert row["abstained"] == (p_A[best] < 0.4)
    assert row["label"] == (None if row["abstained"] else top[0][0])
    assert row["error"] is None
  facts = json.loads((tmp_path / "out.parquet.json").read_text())
  assert facts["model"]["digest"] == model.digest
  assert facts["model"]["inputs"]["image_protocol"]["kind"] == "square"
  assert facts["labels"] == [*LABELS]
  assert facts["templates"] == [TEMPLATES]
  assert (facts["threshold"], facts["num_left_out"]) == (0.4, 1)
  inside = json.loads(pq.read_metadata(out).metadata[b"diptych"])
  assert inside["model"] == facts["model"]
  right = sum(row["label"] == row["truth"] for row in rows)
  accuracy = facts["truth"]["accuracy"]
  assert accuracy["value"] == pytest.approx(right / NUM)
  known = json.loads((tmp_path / "out.parquet.confusion.json").read_text())
  assert known == facts["truth"]
  assert (tmp_path / "out.parquet.confusion.png").is_file()
  text = capsys.readouterr().out
  assert "99.png: image_broken" in text
  assert "accuracy: " in text
  assert "true \\ predicted" in text


def test_moderation_from_labelled_pictures_to_curated_ones(
  models, photos, table, similarity, tmp_path, capsys
):
  """Calibrate, classify a table, and curate it by a score."""
  path, file = models["softmax"], tmp_path / "tags.json"
  _calibrate(path, file, images=table, target="recall=1")
  text = capsys.readouterr().out
  assert "cross-validated" in text
  assert "99.png: image_broken" in text
  made = calibration_file.Calibration.read(file)
  figures = dict(zip(LABELS, made.per_label, strict=True))
  assert figures["cat"]["figures"]["average_precision"]["value"] == 1
  assert figures["owl"]["figures"]["average_precision"]["value"] < 0.8
  assert made.source["num"] == NUM

  out = tmp_path / "out.parquet"
  chosen = {"calibration": str(file), "scores": "cat"}
  _run(
    *(path, out, chosen),
    images=table,
    is_multi=True,
    labels=(),
    templates="",
    columns="key,caption",
    truth="tags",
  )
  rows = pq.read_table(out).to_pylist()
  cats = {row["image_path"] for row in rows if "cat" in (row["labels"] or ())}
  ranked = sorted(similarity, key=lambda path: -similarity[path][0])
  assert cats == {*ranked[:12]}
  facts = json.loads((tmp_path / "out.parquet.json").read_text())
  assert facts["calibration"]["per_label"][0]["label"] == "cat"
  by_name = {row["label"]: row for row in facts["truth"]["per_label"]}
  assert by_name["cat"]["recall"]["value"] == 1
  assert by_name["cat"]["precision"]["value"] == 1

  threshold = figures["cat"]["threshold"]
  config = fields.recipe(
    harm={"op": "at_most", "column": "score_cat", "max_value": threshold}
  )
  config.pool.format = "parquet"
  config.pool.path = str(out)
  curated = recipe.checked(config.to_dict(), recipe.check_paths)
  runner.run(curated, tmp_path / "work", engine="inline", num_workers=0)
  kept = np.load(tmp_path / "work" / "selection.npy")
  # A UID is that of the table's key; the broken picture has no score.
  numbers = {int(high) << 64 | int(low) for high, low in kept}
  names = [str(path) for path in _paths(photos)]
  assert {names[number] for number in numbers} == {*ranked[12:]}


def test_a_calibration_belongs_to_its_model_and_texts(
  models, photos, table, tmp_path
):
  file = tmp_path / "tags.json"
  _calibrate(models["softmax"], file, images=table, method="isotonic")
  chosen = {"calibration": str(file)}
  for values, message in (
    ({"labels": ("cat", "dog")}, "--labels must be what the calibration"),
    ({"templates": "a {}"}, "--templates must be what the calibration"),
    ({"is_multi": False}, "--calibration needs --multi_label"),
  ):
    with pytest.raises(ValueError, match=message):
      _run(
        *("no/model", tmp_path / "out.csv", chosen),
        **({"images": photos, "is_multi": True} | values),
      )
  other = tmp_path / "other"
  fresh_run.write(other, runs.make_config(), bias=-1.0)
  with pytest.raises(ValueError, match="another digest.*calibrate it"):
    _run(other, tmp_path / "out.csv", chosen, images=photos, is_multi=True)
  facts = json.loads(file.read_text())
  del facts["per_label"][0]["threshold"]
  file.write_text(json.dumps(facts))
  with pytest.raises(ValueError, match="no calibration that --calibrate wrote"):
    _run(other, tmp_path / "out.csv", chosen, images=photos, is_multi=True)
  assert not (tmp_path / "out.csv").exists()


def test_labels_by_themselves_without_a_calibration(models, photos, tmp_path):
  values = {"images": photos, "is_multi": True}
  with pytest.raises(ValueError, match="softmax loss.*--background=.*calib"):
    _run(models["softmax"], tmp_path / "a.jsonl", **values)
  assert not [*tmp_path.glob("a.jsonl*")]
  _run(
    *(models["softmax"], tmp_path / "a.jsonl", {"scores": "all"}),
    **values,
    background="a drawing,a photo",
  )
  with pytest.raises(ValueError, match="--background is for models with a sof"):
    _run(models["sigmoid"], tmp_path / "b.jsonl", **values, background="a")
  _run(*(models["sigmoid"], tmp_path / "b.jsonl", {"scores": "all"}), **values)
  for loss, name in (("softmax", "a.jsonl"), ("sigmoid", "b.jsonl")):
    lines = (tmp_path / name).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    row = next(row for row in rows if not row["error"])
    model = inference.Model.load(str(models[loss]), batch_size=16)
    sim_A = model.classify(row["image_path"], LABELS, [TEMPLATES])
    logit_A = model.scale * sim_A.similarity_NA[0].astype(float)
    other = -model.bias
    if loss == "softmax":
      texts = ["a drawing", "a photo"]
      sim_B = model.similarity(row["image_path"], texts)[0]
      other = np.log(np.exp(model.scale * sim_B.astype(float)).sum())
    expected_A = 1 / (1 + np.exp(other - logit_A))
    got = [row[f"score_{label}"] for label in LABELS]
    np.testing.assert_allclose(got, expected_A, rtol=1e-3)
    given = [x for x, p in zip(LABELS, expected_A, strict=True) if p >= 0.5]
    assert {*row["labels"]} == {*given}


@pytest.mark.parametrize(
  ("values", "choices", "message"),
  [
    ({"labels": ()}, {}, "--labels is missing"),
    ({"labels": ("cat",)}, {}, "is one label.*--multi_label"),
    ({"background": "a photo"}, {}, "--background needs --multi_label"),
    ({"templates": "photo"}, {}, "--templates=photo is no file"),
    ({"images": ""}, {}, "--images is missing"),
    ({"images": "no/folder"}, {}, "--images=no/folder"),
    ({"columns": "caption"}, {}, "--columns needs a table"),
    ({"truth": "tags"}, {}, "--truth=tags needs a table"),
    ({"batch_size": 0}, {}, "--batch_size must be at least 1"),
    ({}, {"threshold": 1.5}, "--threshold must be between 0 and 1; got 1.5"),
    ({}, {"num_results": 0}, "--num_results must be at least 1; got 0"),
    ({}, {"scores": "bee"}, "--scores must be labels, or all; got 'bee'"),
    ({}, {"calibration": "no.json"}, "needs --multi_label"),
    (
      {"is_multi": True},
      {"calibration": "no.json"},
      "--calibration=no.json is no file",
    ),
    (
      {"truth": "folder", "labels": ("cat", "owl")},
      {},
      r"--truth has 1 that are no labels: 'dog' \(20\).*--allow_unknown_truth",
    ),
  ],
)
def test_flags_are_refused_before_the_model_is_read(
  values, choices, message, photos, tmp_path
):
  fields = {"images": photos} | values
  if "batch_size" in fields:
    fields["batch_size"] = False  # kept as it is, and 0
  with pytest.raises(ValueError, match=message):
    _run("no/model", tmp_path / "out.csv", choices, **fields)
  assert not [*tmp_path.iterdir()]


def test_files_that_are_refused(photos, tmp_path):
  out = tmp_path / "out.csv"
  out.touch()
  for name, message in (
    ("out.csv", "is there already"),
    ("out.txt", "--out must end in .csv, .jsonl, .parquet; got"),
    ("no/out.csv", "there is no folder"),
  ):
    with pytest.raises(ValueError, match=message):
      _run("no/model", tmp_path / name, images=photos)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"is_multi": False}, "--calibrate needs --multi_label"),
    ({"method": "temperature"}, "--calibrator must be one of platt"),
    ({"target": "accuracy"}, "--target must be f1"),
    ({"images": ""}, "--calibrate is missing"),
    ({"truth": "label"}, "--truth, of --calibrate=.*columns.*'tags'"),
  ],
)
def test_calibrations_that_are_refused(values, message, table, tmp_path):
  with pytest.raises(ValueError, match=message):
    _calibrate("no/model", tmp_path / "a.json", **({"images": table} | values))
  with pytest.raises(ValueError, match=r"--out must be a \.json file"):
    _calibrate("no/model", tmp_path / "a.csv", images=table)


def test_labels_of_too_few_pictures(models, table, tmp_path):
  path, out = models["softmax"], tmp_path / "a.json"
  with pytest.raises(ValueError, match=r"2 that are no labels: .*'dog' \(15\)"):
    _calibrate(path, out, images=table, labels=("cat", "bee"))
  with pytest.raises(ValueError, match=r"at least 2 pictures.*'bee' \(0\)"):
    _calibrate(path, out, images=table, labels=(*LABELS, "bee"))
  assert not [*tmp_path.glob("a.json*")]


def test_unknown_labels_are_counted_apart(models, table, tmp_path, capsys):
  lines = table.read_text().splitlines()
  rows = pa.table(
    {
      "image": [line.split(",")[0] for line in lines[1:]],
      "kind": ["bee", "", *["cat"] * (len(lines) - 3)],
    }
  )
  file = table.parent / "rows.parquet"  # below which images are
  pq.write_table(rows, file)
  values = {"images": file, "truth": "kind"}
  with pytest.raises(ValueError, match=r"no labels: 'bee' \(1\)"):
    _run(models["softmax"], tmp_path / "a.csv", **values)
  assert not [*tmp_path.glob("a.csv*")]
  chosen = {"allow_unknown_truth": True}
  _run(models["softmax"], tmp_path / "a.csv", chosen, as_json=True, **values)
  facts = json.loads(capsys.readouterr().out)
  known = facts["truth"]
  assert known["unknown_labels"] == {"bee": 1}
  assert known["num_without_label"] == 1
  assert known["num_pictures"] == NUM - 2


def test_no_picture_can_be_used(models, tmp_path):
  (tmp_path / "a.png").write_bytes(b"GIF")
  out = tmp_path / "out.csv"
  with pytest.raises(ValueError, match=r"none of 1 pictures.*a\.png"):
    _run(models["softmax"], out, images=tmp_path)
  assert not [*tmp_path.glob("out.csv*")]


def test_many_labels_are_embedded_once(models, tmp_path, monkeypatch):
  monkeypatch.setattr(label_embeddings, "_NUM_KEPT", 8)
  monkeypatch.setattr(label_embeddings, "_NUM_PROMPTS", 7)
  model = inference.Model.load(str(models["softmax"]), batch_size=16)
  names = tuple(f"thing {n}" for n in range(10))
  wanted = labels.Labels(names, ("a {}", "the {}"))
  z_AE = label_embeddings.embed(model, wanted, tmp_path)
  np.testing.assert_allclose(
    z_AE, model.embed_labels(names, wanted.templates), atol=1e-6
  )
  assert isinstance(z_AE, np.memmap)
  other = labels.Labels(names, ("a {}", "this {}"))
  assert not np.array_equal(
    label_embeddings.embed(model, other, tmp_path), z_AE
  )
  monkeypatch.setattr(type(model), "embed_labels", None)
  again_AE = label_embeddings.embed(model, wanted, tmp_path)
  np.testing.assert_array_equal(again_AE, z_AE)
