"""Measures of sets by name: figures by hand, kept embeddings, refusals."""

import json

import numpy as np
import pytest

from evaluators import embedding, measures
from evaluators.probes import nearest
from evaluators.robustness import corruptions
from inference import model as model_lib
from inference.evaluation import evaluate_sets, item_files, set_measures
from models import dual_encoder
from tests.inference import wds_folders
from tests.inference.evaluation import conftest


def _run(folder, out, asked, sets=("beasts", "views"), cache=None):
  evaluate_sets.run(
    str(folder / "run"),
    suite="",
    names=[str(folder / f"wds_{name}") for name in sets],
    data_root="",
    out=str(out),
    cache_dir=str(cache or out / "cache"),
    batch_size=16,
    num_threads=2,
    asked=asked,
  )
  return json.loads((out / evaluate_sets.RESULTS).read_text())


def _images(folder, count):
  model = model_lib.load(folder / "run")
  protocol = model.make_inputs().image_protocol
  data = wds_folders.noise(count)
  pixels = [protocol.apply(wds_folders.pixels(image)) for image in data]
  return model, np.stack(pixels)


@pytest.mark.parametrize("features", ["embedding", "trunk"])
def test_neighbours_by_hand(folder, tmp_path, features):
  asked = set_measures.Measures(["knn"], features)
  results = _run(folder, tmp_path / "out", asked, sets=["beasts"])
  model, images = _images(folder, len(conftest.TRAIN))
  if features == "trunk":
    features_fn = dual_encoder.feature_fn(model.config)
    x = np.asarray(features_fn(model.params, images))
    projected = model.params["img"]["projection"]
    z = x @ np.asarray(projected["kernel"])
    z += np.asarray(projected.get("bias", 0))
    np.testing.assert_allclose(
      z / np.linalg.norm(z, axis=1, keepdims=True),
      model.make_embedder(16).images(model.params, images),
      atol=1e-6,
    )
  else:
    x = model.make_embedder(16).images(model.params, images)
  predicted = nearest.classify(
    *(x, np.array(conftest.TRAIN), x[: len(conftest.LABELS)]), num_classes=6
  )
  knn = results["beasts"]["knn"]
  assert knn["top_1"] == np.mean(predicted == np.array(conftest.LABELS))
  low, high = knn["intervals"]["top_1"]
  assert low <= knn["top_1"] <= high
  assert knn["protocol"]["num_train"] == len(conftest.TRAIN)
  assert results["beasts"]["top_1"] is not None  # its own figures stay


def test_embeddings_are_kept(folder, tmp_path, monkeypatch):
  asked = set_measures.Measures([*measures.MEASURES])
  first = _run(folder, tmp_path / "a", asked, cache=tmp_path / "cache")
  monkeypatch.setattr(
    embedding.Embedder, "stream", lambda *args, **kwargs: pytest.fail("embeds")
  )
  again = _run(folder, tmp_path / "b", asked, cache=tmp_path / "cache")
  assert again == first
  beasts, views = first["beasts"], first["views"]
  episodes = ("episodes", "tuned_episodes")
  for name in episodes:
    assert "5 classes of 20 examples; got 0" in beasts[name]["not_run"]
  for name in (x for x in measures.MEASURES if x not in episodes):
    assert "not_run" not in beasts[name], name
    assert beasts[name]["protocol"]["metric_version"]
  for name in ("linear_probe", "few_shot", "knn", "calibration"):
    assert "classification" in views[name]["not_run"], name
  for name in ("geometry", "corruptions", "texts"):
    assert "not_run" not in views[name], name
  items = item_files.read(tmp_path / "a" / "items" / "beasts.npz")
  assert items["knn/top_1"].value_Q.mean() == beasts["knn"]["top_1"]
  assert "texts/typos/top_1" in items


def test_few_shot_has_the_shots_that_are_asked_for(folder, tmp_path):
  asked = set_measures.Measures(["few_shot"], shots=(1, 3))
  record = _run(folder, tmp_path / "out", asked, sets=["beasts"])
  shots = record["beasts"]["few_shot"]
  assert [*shots["ridge"]] == ["1_shot", "3_shot"] == [*shots["nearest_mean"]]


def test_corruptions_by_hand(folder, tmp_path):
  asked = set_measures.Measures(["corruptions"])
  results = _run(folder, tmp_path / "out", asked, sets=["views"])
  record = results["views"]["corruptions"]
  assert "frost" not in record["text_to_image/R@1"]["by_kind"]
  assert record["protocol"]["frost"].startswith("left out")
  model, images = _images(folder, len(conftest.CAPTIONS))
  blurred = np.stack(
    [
      corruptions.corrupt(image, "contrast", 3, uid=f"s{row:07d}")
      for row, image in enumerate(images)
    ]
  )
  embedder = model.make_embedder(16)
  zimg = embedder.images(model.params, blurred)
  texts = [text for some in conftest.CAPTIONS for text in some]
  tokens = model.make_inputs().tokenizer(texts)
  score = zimg @ embedder.texts(model.params, tokens).T
  owners = [i for i, some in enumerate(conftest.CAPTIONS) for _ in some]
  hits = np.mean([owners[m] == i for i, m in enumerate(score.argmax(axis=1))])
  by_kind = record["image_to_text/R@1"]["by_kind"]
  assert by_kind["contrast"][2] == hits


def test_geometry_of_captions(folder, tmp_path):
  asked = set_measures.Measures(["geometry"])
  results = _run(folder, tmp_path / "out", asked, sets=["views"])
  model, images = _images(folder, len(conftest.CAPTIONS))
  embedder = model.make_embedder(16)
  zimg = embedder.images(model.params, images)
  texts = [text for some in conftest.CAPTIONS for text in some]
  owners = [i for i, some in enumerate(conftest.CAPTIONS) for _ in some]
  ztxt = embedder.texts(model.params, model.make_inputs().tokenizer(texts))
  geometry = results["views"]["geometry"]
  gaps = ((zimg[owners] - ztxt) ** 2).sum(axis=1)
  assert geometry["alignment"] == pytest.approx(gaps.mean(), rel=1e-6)
  low, high = geometry["intervals"]["modality_gap"]
  assert low <= geometry["modality_gap"] <= high


def test_prompts_that_are_not_changed(folder, tmp_path):
  """Prompts in lower case stay, and no figure differs from the clean one."""
  asked = set_measures.Measures(["texts"])
  record = _run(folder, tmp_path / "out", asked, sets=["beasts"])
  texts = record["beasts"]["texts"]
  lower = texts["by_kind"]["lower"]
  assert lower["num_unchanged"] == texts["num_texts"]
  assert lower["difference"] == 0
  assert texts["intervals"]["by_kind/lower/difference"] == [0, 0]
  assert texts["by_kind"]["upper"]["num_unchanged"] == 0
  assert texts["clean"]["top_1"] == record["beasts"]["top_1"]


@pytest.mark.parametrize(
  ("asked", "wanted"),
  [
    ({"names": ["probe"]}, "--measures must be one of linear_probe"),
    ({"names": ["knn"], "features": "raw"}, "--features must be one of"),
    ({"names": ["geometry"], "features": "trunk"}, "--features=trunk is for"),
    ({"names": ["knn"]}, "--measures=knn fits none of the sets: views"),
    (
      {"names": ["knn"], "num_episodes": 9},
      "--num_episodes is for --measures=episodes,tuned_episodes",
    ),
    (
      {"names": ["knn"], "shots": (5,)},
      "--shots is for --measures=few_shot,episodes,tuned_episodes",
    ),
    (
      {"names": ["few_shot"], "num_episodes": 9},
      "--num_episodes is for --measures=episodes,tuned_episodes",
    ),
    ({"names": ["episodes"], "num_episodes": 0}, "--num_episodes must be at"),
    ({"names": ["tuned_episodes"], "shots": (5, 0)}, "--shots must be at"),
    ({"names": ["tuned_episodes"], "shots": ()}, "--shots must have at least"),
    (
      {"names": ["texts"], "frost_textures": "nowhere"},
      "--frost_textures is for",
    ),
  ],
)
def test_a_measure_that_cannot_be_taken_costs_nothing(
  folder, tmp_path, asked, wanted
):
  with pytest.raises(ValueError, match=wanted):
    _run(
      folder,
      tmp_path / "out",
      set_measures.Measures(**asked),
      sets=["views"],
    )
  assert not (tmp_path / "out" / evaluate_sets.RESULTS).exists()
  assert not (tmp_path / "out" / "cache" / "embeddings").exists()


def test_sets_that_are_too_small(folder, tmp_path):
  """One image, one class; a training split with an image of each class."""
  made = tmp_path / "sets"
  made.mkdir()
  (made / "run").symlink_to(folder / "run")
  wds_folders.write(
    made / "wds_one",
    [{"png": wds_folders.noise(1)[0], "cls": b"0"}],
    {
      "classnames.txt": "ant",
      "zeroshot_classification_templates.txt": "a {c}",
    },
    num_shards=1,
  )
  wds_folders.classification(made / "wds_few", (0, 1))
  wds_folders.classification(made / "wds_few", (0, 1), "train")
  asked = ["geometry", "calibration", "texts", "linear_probe", "knn"]
  results = _run(
    made, tmp_path / "out", set_measures.Measures(asked), sets=["one", "few"]
  )
  one, few = results["one"], results["few"]
  assert one["top_1"] == 1 == one["chance"]["top_1"]
  assert not [x for x in one["geometry"] if x.startswith("uniformity")]
  assert one["calibration"]["not_run"].startswith("it needs an example to fit")
  assert "2 classes and a class of 2" in few["linear_probe"]["not_run"]
  assert few["knn"]["num_examples"] == 2
  page = (tmp_path / "out" / "report.html").read_text()
  assert "one class, so every answer is right" in page
  assert "inf" not in page.partition("<main>")[2].replace("info", "")
