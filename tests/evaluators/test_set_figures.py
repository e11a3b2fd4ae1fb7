"""Records of sets of each kind, from embeddings made by hand."""

import hashlib
import json

import numpy as np
import pytest

from evaluators import directions, embedding, set_figures, set_tables
from evaluators.metrics import multilabel
from evaluators.sets import datacomp, field_set
from runtime import mesh as mesh_lib
from runtime.storage import strict_json

WIDTH = 16


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))


def _unit(rows):
  return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _embed(texts):
  """Return a row of length 1 that depends on the text alone."""
  seeds = [
    int.from_bytes(hashlib.blake2b(x.encode(), digest_size=4).digest())
    for x in texts
  ]
  return _unit(
    np.stack([np.random.default_rng(x).normal(size=WIDTH) for x in seeds])
  )


def _examples(texts):
  """Return images near their first text, or anywhere, with these texts."""
  rng = np.random.default_rng(0)
  num = len(texts)
  return embedding.Examples(
    tuple(range(num)),
    tuple(f"k{i}" for i in range(num)),
    tuple(texts),
    _unit(rng.normal(size=(num, WIDTH))),
  )


def _set(kind, **fields):
  return field_set.FieldSet("mine", kind, {}, **fields)


def test_each_language_is_ranked_by_itself(mesh):
  texts = [
    {
      "en": (f"{i} one", f"{i} two"),
      **({"de": (f"{i} eins",)} if i % 2 else {}),
    }
    for i in range(12)
  ]
  examples = _examples(texts)
  record = set_figures.evaluate(
    _set("retrieval"), examples, _embed, mesh
  ).record
  assert list(record["languages"]) == ["de", "en"]
  german = record["languages"]["de"]
  assert (german["num_candidates"], german["num_texts"]) == (6, 6)
  rows = [i for i in range(12) if i % 2]
  by_hand = directions.evaluate(
    examples.zimg_NE[rows],
    _embed([f"{i} eins" for i in rows]),
    [f"{i} eins" for i in rows],
    mesh,
    owners=range(6),
  )
  for direction, figures in by_hand.items():
    for name, value in figures.items():
      assert german[direction][name] == value
  assert record["languages"]["en"]["num_texts"] == 24
  means = [
    tree["text_to_image"]["R@5"] for tree in record["languages"].values()
  ]
  got = record["mean_of_languages"]["text_to_image/R@5"]
  assert got == pytest.approx(np.mean(means))
  assert "image_to_text" not in record
  assert "de: image to text R@1" in set_tables.line(record)
  strict_json.dumps(record)


def test_several_labels_an_image(mesh):
  rng = np.random.default_rng(1)
  targets = rng.random((20, 3)) < 0.4
  targets[0] = True
  examples = _examples(
    [
      {field_set.LABELS: (" ".join(map(str, row.astype(int))),)}
      for row in targets
    ]
  )
  opened = _set(
    "multilabel",
    texts=("targets",),
    classes=("a", "b", "c"),
    templates=("{c}",),
  )
  record = set_figures.evaluate(opened, examples, _embed, mesh).record
  score = examples.zimg_NE @ _embed(["a", "b", "c"]).T
  want = multilabel.figures(score, targets)
  assert record["mean_ap"] == pytest.approx(want["mean_ap"])
  low, high = record["intervals"]["mean_ap"]
  assert low <= record["mean_ap"] <= high
  assert record["chance"]["mean_ap"] == want["chance"]


def test_the_worst_group(mesh):
  task = datacomp.tasks()["fairness/geode"]
  groups = [i % 3 for i in range(30)]
  examples = _examples(
    [
      {field_set.LABELS: (str(i % 5), f"{group} 0")}
      for i, group in enumerate(groups)
    ]
  )
  opened = _set(
    "classification",
    texts=("label", "groups"),
    classes=tuple("abcde"),
    templates=("{c}",),
    fields=task.fields,
    task=task,
  )
  outcome = set_figures.evaluate(opened, examples, _embed, mesh)
  score = examples.zimg_NE @ _embed("abcde").T
  right = score.argmax(axis=1) == np.arange(30) % 5
  by_group = [right[np.array(groups) == g].mean() for g in range(3)]
  assert outcome.record["worst_group_top_1"] == min(by_group)
  assert datacomp.main_figure(task, outcome.record) == min(by_group)
  assert [row["n"] for row in outcome.details["groups"]["region"]] == [10] * 3
  gap = outcome.details["gaps"]["region"]
  assert gap["gap"] == pytest.approx(max(by_group) - min(by_group))
  assert gap["interval"][0] <= gap["gap"] <= gap["interval"][1]


@pytest.mark.parametrize("num_images", [1, 2])
def test_items_of_two_texts(mesh, tmp_path, num_images):
  examples = _examples([{field_set.LABELS: (f"k{i}",)} for i in range(10)])
  items = [
    {
      "images": [f"k{(number + i) % 10}" for i in range(num_images)],
      "texts": [f"{number} right", f"{number} wrong"],
      "right": [[0], [1] if num_images == 2 else []],
    }
    for number in range(10)
  ]
  path = tmp_path / "items.jsonl"
  path.write_text("".join(json.dumps(item) + "\n" for item in items))
  opened = _set("selection", items=str(path))
  record = set_figures.evaluate(opened, examples, _embed, mesh).record
  hits = []
  for number in range(10):
    rows = [(number + i) % 10 for i in range(num_images)]
    ztxt = _embed([f"{number} right", f"{number} wrong"])
    sim = examples.zimg_NE[rows] @ ztxt.T
    hits.append(all(sim[i, i] > sim[i, 1 - i] for i in range(num_images)))
  name = "text" if num_images == 2 else "accuracy"
  assert record[name] == np.mean(hits)
  assert record["chance"][name] == 0.5**num_images
  assert record["num_items"] == 10


def test_candidates_of_a_cue(mesh, tmp_path):
  examples = _examples([{field_set.LABELS: (f"k{i}",)} for i in range(12)])
  item = {
    "images": [f"k{i}" for i in range(12)],
    "texts": ["A cue"],
    "right": [[1, 4, 7]],
  }
  path = tmp_path / "items.jsonl"
  path.write_text(json.dumps(item) + "\n")
  opened = _set("selection", items=str(path))
  record = set_figures.evaluate(opened, examples, _embed, mesh).record
  sim = examples.zimg_NE @ _embed(["A cue"])[0]
  best = set(np.argsort(-sim)[:3].tolist())
  both = best & {1, 4, 7}
  assert record["jaccard_score_10-12"] == pytest.approx(
    len(both) / (6 - len(both))
  )
