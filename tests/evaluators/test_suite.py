import dataclasses
import json
import types

import jax
import numpy as np
import pytest

from evaluators import embedding, suite, summary
from input_pipeline import pipeline
from tests.evaluators import meshes

# Words have ids; the table of a perfect model gives a picture and its names in
# all languages the same row.
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


def make_data(num=20):
  """Two splits; texts carry the id of their row in the table."""
  keys = [f"{0x1F440 + i:X}-1F3F{'BCDEF'[i % 5]}" for i in range(num)]
  splits = {}
  for s, name in enumerate(("compositional", "unseen_concept")):
    ids = np.arange(num) + s * num
    splits[name] = pipeline.Examples(
      keys=tuple(keys),
      texts={lang: tuple(f"{lang} {i}" for i in ids) for lang in ("de", "en")},
      images=meshes.images_of(ids),
    )
  names = {
    lang: tuple(f"{lang} {i}" for i in range(3 * num)) for lang in ("de", "en")
  }
  return suite.Data(splits=splits, names=names, tokenizer=Tokenizer())


class Tokenizer:
  """Names to their id, prompts to the row of their tone; counts its texts."""

  def __init__(self):
    self.texts = []

  def __call__(self, texts):
    self.texts += texts
    return np.array([[self.row(text)] for text in texts], np.int32)

  def row(self, text):
    if text.endswith(" skin tone"):
      return 100 + TONES.index(text.split()[-3])
    return int(text.split()[1])


def make_config(languages=("en",), zero_shot=("skin_tone",)):
  return types.SimpleNamespace(
    data=types.SimpleNamespace(languages=languages),
    evaluate=types.SimpleNamespace(
      retrieval=("compositional", "unseen_concept"), zero_shot=zero_shot
    ),
  )


def make_embedder(**kwargs):
  mesh = meshes.make_mesh((2, 1, 1))
  fns = meshes.embed_images, meshes.embed_texts
  return embedding.make_embedder(*fns, mesh, 16, **kwargs)


def make_table():
  """Pictures near their tone, and each name at its picture."""
  rng = np.random.default_rng(0)
  tones = rng.normal(size=(5, 32))
  table = np.zeros((105, 32))
  table[:100] = tones[np.arange(100) % 5] + rng.normal(size=(100, 32))
  table[100:] = tones
  return meshes.unit(table)


def test_results_have_the_structure_that_others_rely_on():
  results = suite.run(make_config(), make_data(), make_embedder(), make_table())
  perfect = {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0, "median_rank": 1.0}
  split = {
    "num_candidates": 20,
    "image_to_text": perfect,
    "text_to_image": perfect,
    "all_names": {"num_candidates": 60, **perfect},
  }
  task = results.pop("zero_shot")["skin_tone"]
  assert results == {"compositional": split, "unseen_concept": split}
  assert task["num_classes"] == 5
  assert task["num_examples"] == 20
  assert task["top_1"] > 0.8
  json.dumps(results, allow_nan=False)


def test_runs_as_the_training_loop_runs_it():
  embedder = make_embedder()
  whole = jax.NamedSharding(embedder.mesh, jax.P())
  params = jax.device_put(make_table(), whole)
  config, data = make_config(), make_data()
  with jax.transfer_guard("disallow"), jax.set_mesh(embedder.mesh):
    embeddings = suite.embed(config, data, embedder, params)
    results = suite.score(config, data, embeddings, embedder)
    suite.gallery(config, data, embeddings, embedder)
  assert results == suite.run(config, data, embedder, make_table())


def test_all_names_are_harder_than_the_split():
  # Name 40 + i, which is in neither split, is at the place of picture i.
  table = make_table()
  table[40:50] = table[:10]
  results = suite.run(make_config(), make_data(), make_embedder(), table)
  split = results["compositional"]
  assert split["image_to_text"]["R@1"] == 1
  assert split["all_names"]["R@1"] == 0.5
  assert results["unseen_concept"]["all_names"]["R@1"] == 1


def test_nothing_is_embedded_twice():
  tokenizer = Tokenizer()
  data = dataclasses.replace(make_data(), tokenizer=tokenizer)
  suite.run(make_config(("en", "de")), data, make_embedder(), make_table())
  texts = tokenizer.texts
  assert len(texts) == len(set(texts))
  # 60 English names, 2 x 20 German ones, 5 x 20 prompts.
  assert len(texts) == 200


def test_several_languages():
  config = make_config(("de", "en"))
  data = make_data()
  results = suite.run(config, data, make_embedder(), make_table())
  split = results["compositional"]
  assert list(split["languages"]) == ["de", "en"]
  assert split["languages"]["de"]["image_to_text"] == split["image_to_text"]
  scalars = suite.scalars(results)
  assert scalars["compositional/languages/en/text_to_image/R@1"] == 1


def test_a_task_in_a_language_that_is_not_trained_says_so():
  config = make_config(("de",))
  results = suite.run(config, make_data(), make_embedder(), make_table())
  reason = results["zero_shot"]["skin_tone"]["not_run"]
  assert '"en"' in reason
  assert "de" in reason
  assert f"not run, {reason}" in summary.table(results)
  assert not [name for name in suite.scalars(results) if "zero_shot" in name]


def test_examples_without_a_text_are_left_out():
  data = make_data()
  split = data.splits["compositional"]
  split.texts["en"] = ("", "", *split.texts["en"][2:])
  results = suite.run(make_config(), data, make_embedder(), make_table())
  assert results["compositional"]["num_candidates"] == 18
  assert results["compositional"]["image_to_text"]["R@1"] == 1
  split.texts["en"] = ("",) * 20
  with pytest.raises(ValueError, match="compositional split has a text in en"):
    suite.run(make_config(), data, make_embedder(), make_table())


def test_scalars():
  results = suite.run(make_config(), make_data(), make_embedder(), make_table())
  scalars = suite.scalars(results)
  assert scalars["compositional/image_to_text/R@1"] == 1
  assert scalars["unseen_concept/all_names/median_rank"] == 1
  assert "zero_shot/skin_tone/top_1" in scalars
  assert not [name for name in scalars if "num_" in name]
  assert {type(value) for value in scalars.values()} == {float}


def test_interruption_passes_through():
  embedder = make_embedder(should_stop=lambda: True)
  with pytest.raises(embedding.Interrupted):
    suite.run(make_config(), make_data(), embedder, make_table())


def test_an_unknown_task_is_named():
  with pytest.raises(ValueError, match=r"\['colour'\]; there is \['skin_tone"):
    suite.load_data(make_config(zero_shot=("colour",)))


def test_gallery_shows_the_share_of_hits():
  table = make_table()
  # Names 0 to 9 are at the wrong picture.
  data = make_data()
  split = data.splits["compositional"]
  split.texts["en"] = tuple(
    f"en {(i + 1) % 10 if i < 10 else i}" for i in range(20)
  )
  embedder, config = make_embedder(), make_config()
  embeddings = suite.embed(config, data, embedder, table)
  panels = suite.gallery(config, data, embeddings, embedder)
  assert [(p.split, p.direction) for p in panels] == [
    (split, direction)
    for split in ("compositional", "unseen_concept")
    for direction in ("text_to_image", "image_to_text")
  ]
  for panel in panels:
    hits = [entry.rank == 1 for entry in panel.entries]
    # Best first.
    assert hits == [True] * sum(hits) + [False] * (10 - sum(hits))
    assert sum(hits) == (5 if panel.split == "compositional" else 10)
    for entry in panel.entries:
      assert len(entry.answers) == 5
      assert entry.right.is_right
      assert entry.right.text == entry.text
      assert entry.is_found == any(a.is_right for a in entry.answers)
      scores = [answer.score for answer in entry.answers]
      assert scores == sorted(scores, reverse=True)


def test_a_run_that_evaluates_nothing():
  config = make_config(zero_shot=())
  config.evaluate.retrieval = ()
  config.model = types.SimpleNamespace(embed_dim=32)
  data = suite.Data(splits={}, names={}, tokenizer=Tokenizer())
  embedder, table = make_embedder(), make_table()
  assert suite.run(config, data, embedder, table) == {}
  embeddings = suite.embed(config, data, embedder, table)
  assert suite.gallery(config, data, embeddings, embedder) == []
  assert suite.scalars({}) == {}


def test_the_gallery_does_not_depend_on_the_order_of_the_data():
  config, embedder, table = make_config(), make_embedder(), make_table()
  chosen = []
  for order in (np.arange(20), np.random.default_rng(0).permutation(20)):
    data = make_data()
    split = data.splits["compositional"]
    split = pipeline.Examples(
      keys=tuple(split.keys[i] for i in order),
      texts={k: tuple(v[i] for i in order) for k, v in split.texts.items()},
      images=split.images[order],
    )
    splits = {**data.splits, "compositional": split}
    data = dataclasses.replace(data, splits=splits)
    embeddings = suite.embed(config, data, embedder, table)
    panel = suite.gallery(config, data, embeddings, embedder)[0]
    chosen.append([entry.text for entry in panel.entries])
  assert chosen[0] == chosen[1]
