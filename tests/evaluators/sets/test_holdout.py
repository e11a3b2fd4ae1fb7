"""Sets of held-out images, of one source and of several."""

import json

import numpy as np
import pytest

from configs.parts import sources
from evaluators import suite, suite_data, summary
from evaluators.sets import holdout, kinds
from input_pipeline import evaluation_split, pipeline
from input_pipeline.sources import image_ids
from runtime import sections
from tests.evaluators import fake_split, test_suite

HeldOut = holdout.HeldOut


def _config(share, **named):
  values = {
    "every_steps": 0,
    "batch_size": 16,
    "sets": named,
    "holdout": share,
  }
  return sections.make(suite_data.EvaluateConfig, values, see="")


def _split(rows, names, unusable=()):
  """Return a split of pictures by their rows in the table of a model."""
  ids = [image_ids.of_bytes(b"%d" % row) for row in rows]
  return fake_split.Split(
    keys=[f"{row}" for row in rows],
    names=names,
    images=test_suite.meshes.images_of(np.array(rows)),
    image_ids=np.array(ids, image_ids.DTYPE),
    unusable=unusable,
  )


def _data(monkeypatch, splits, languages):
  """Return the inputs of an evaluation of sources by name."""

  def joined(parts):
    every = [part.image_ids for part in parts]
    made = _split(range(sum(map(len, every))), {})
    made.image_ids = np.concatenate(every)
    made.images = np.concatenate([part.images for part in parts])
    return made

  monkeypatch.setattr(
    evaluation_split, "open_held_out", lambda data, name, **_: splits[name]
  )
  monkeypatch.setattr(evaluation_split, "joined", joined)
  data = pipeline.DataConfig.__new__(pipeline.DataConfig)
  object.__setattr__(data, "sources", dict.fromkeys(splits))
  object.__setattr__(data, "languages", languages)
  return suite_data.load_data(
    _config(0.1), data, test_suite.make_inputs(), "float32"
  )


def test_sets_by_name():
  assert holdout.sections(0.0, ["main"]) == {}
  one = holdout.sections(0.1, ["main"])
  assert {name: x.source for name, x in one.items()} == {
    "holdout": HeldOut(("main",), 0.1)
  }
  several = holdout.sections(0.1, ["web", "emoji"])
  assert {name: x.source.names for name, x in several.items()} == {
    "holdout": ("emoji", "web"),
    "holdout_emoji": ("emoji",),
    "holdout_web": ("web",),
  }


@pytest.mark.parametrize("name", ["holdout", "holdout_main"])
def test_names_of_others(name):
  source = sources.source(format="emoji").to_dict()
  _config(0.0, **{name: kinds.retrieval(source)}).check()
  with pytest.raises(ValueError, match=rf"evaluate.holdout=0.1.*got '{name}'"):
    _config(0.1, **{name: kinds.retrieval(source)}).check()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_are_none(share):
  with pytest.raises(ValueError, match=r"evaluate.holdout must be in \[0, 1\)"):
    _config(share).check()


def test_one_source(monkeypatch):
  rows = range(20)
  names = {"en": [[f"en {i}", f"en {i + 20}"] for i in rows]}
  split = _split(rows, names, unusable=(3, 4))
  data = _data(monkeypatch, {"main": split}, ("en",))
  table = test_suite.make_table()
  table[20:40] = table[:20]
  results = suite.run(data, test_suite.make_embedder(), table)
  assert list(results) == ["holdout", "inputs"]
  found = results["holdout"]
  assert (found["num_candidates"], found["num_texts"]) == (18, 36)
  assert found["num_left_out"] == 2
  assert found["image_to_text"]["num_right"] == 2
  assert found["text_to_image"]["R@1"] == 1
  json.dumps(results, allow_nan=False)
  lines = summary.table(results).splitlines()
  assert lines[0].split()[0] == "holdout"
  assert "holdout/text_to_image/R@1" in suite.scalars(results)

  # Pictures beside their captions, though two before them are left out.
  embedder = test_suite.make_embedder()
  embeddings = suite.embed(data, embedder, table)
  for panel in suite.gallery(data, embeddings, embedder.mesh):
    for entry in panel.entries:
      number = int(entry.text.split()[1]) % 20
      np.testing.assert_array_equal(entry.image_YXC, split.images[number])


def test_several_sources(monkeypatch):
  """Five pictures are in both, which speak different languages."""
  a = _split(range(10), {"en": [f"en {i}" for i in range(10)]})
  b = _split(range(5, 15), {"de": [f"de {i}" for i in range(5, 15)]})
  data = _data(monkeypatch, {"a": a, "b": b}, ("en", "de"))
  embedder, table = test_suite.make_embedder(), test_suite.make_table()
  embeddings = suite.embed(data, embedder, table)
  assert (a.passes, b.passes) == (1, 1)  # not once more for both together
  results = suite.score(data, embeddings, embedder.mesh)
  assert list(results) == ["holdout", "holdout_a", "holdout_b", "inputs"]
  both = results["holdout"]
  assert both["languages"]["en"]["num_candidates"] == 10
  assert both["languages"]["de"]["num_candidates"] == 10
  joined = embeddings.examples[HeldOut(("a", "b"), 0.1)]
  assert joined.keys == tuple(f"{i}" for i in range(15))
  assert joined.texts[7] == {"en": ("en 7",), "de": ("de 7",)}
  # Rows of the joined split: those of b come after the ten of a.
  assert joined.rows == (*range(10), *range(15, 20))
  np.testing.assert_array_equal(
    joined.zimg_NE[10:], embeddings.examples[HeldOut(("b",), 0.1)].zimg_NE[5:]
  )
  assert "num_left_out" not in both
  # The first language that there is.
  assert list(results["holdout_b"]["languages"]) == ["de"]
  assert results["holdout_b"]["text_to_image"]["R@1"] == 1
  panels = suite.gallery(data, embeddings, embedder.mesh)
  assert {panel.split for panel in panels} == {
    *("holdout", "holdout_a", "holdout_b")
  }
