import dataclasses
import json
import types

import jax
import numpy as np
import pytest

from configs.parts import sources
from evaluators import embedding, sets, suite, suite_data, summary
from evaluators.sets import field_set, kinds
from input_pipeline import model_inputs
from input_pipeline import sources as formats
from input_pipeline.images import image_protocols
from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import rules
from runtime import sections
from tests.evaluators import fake_split, meshes
from tests.input_pipeline import fake_records, fake_source

# Words have ids; the table of a perfect model gives a picture and its names in
# all languages the same row.
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


def make_config(names=("compositional", "unseen_concept", "skin_tone")):
  source = sources.source(format="emoji").to_dict()
  return config_of({name: sets.SETS[name](source) for name in names})


def config_of(named):
  values = {"every_steps": 0, "batch_size": 16, "sets": named}
  return sections.make(suite_data.EvaluateConfig, values, see="")


def make_data(num=20, languages=("en",), config=None):
  """Two splits; texts carry the id of their row in the table."""
  config = config or make_config()
  keys = [f"{0x1F440 + i:X}-1F3F{'BCDEF'[i % 5]}" for i in range(num)]
  splits = {}
  for s, section in enumerate(config.retrieval_sets.values()):
    ids = np.arange(num) + s * num
    splits[section.source] = fake_split.Split(
      keys=keys,
      names={lang: [f"{lang} {i}" for i in ids] for lang in ("de", "en")},
      images=meshes.images_of(ids),
    )
  names = tuple(f"{languages[0]} {i}" for i in range(3 * num))
  whole = (dataclasses.replace(source, split="") for source in splits)
  return suite_data.Data(
    config=config,
    languages=languages,
    splits=splits,
    names=dict.fromkeys(whole, names),
    inputs=make_inputs(),
  )


def make_inputs(tokenizer=None):
  """Inputs of a model of one pixel, whose tokenizer is a test's own."""
  protocol = image_protocols.PROTOCOLS["siglip"].at(1)
  return model_inputs.ModelInputs(protocol, tokenizer or Tokenizer())


def split_of(data, name):
  return data.splits[data.config.sets[name].source]


class Tokenizer:
  """Names to their id, prompts to the row of their tone; counts its texts."""

  codec = bytes_lib.Bytes()
  vocab_size = 258
  rule = rules.run(2)

  def __init__(self):
    self.texts = []

  def __call__(self, texts):
    self.texts += texts
    return np.array([[self.row(text)] for text in texts], np.int32)

  def row(self, text):
    if text.endswith(" skin tone"):
      return 100 + TONES.index(text.split()[-3])
    return int(text.split()[1])


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
  results = suite.run(make_data(), make_embedder(), make_table())
  perfect = {"R@1": 1.0, "R@5": 1.0, "R@10": 1.0, "median_rank": 1.0}
  direction = {"num_candidates": 20, "num_right": 1.0, **perfect}
  split = {
    "num_candidates": 20,
    "num_texts": 20,
    "image_to_text": direction,
    "text_to_image": direction,
    "all_names": {**direction, "num_candidates": 60},
  }
  inputs = results.pop("inputs")
  assert inputs["image_protocol"]["resize"] == "squash"
  assert inputs["tokenizer"]["rule"]["num_tokens"] == 2
  json.dumps(results, allow_nan=False)
  task = results.pop("zero_shot")["skin_tone"]
  beside = [_without_what_is_beside(tree) for tree in results.values()]
  assert results == {"compositional": split, "unseen_concept": split}
  for bounds, protocol in beside:
    for name, (low, high) in bounds.items():
      assert low <= perfect[name] <= high
    assert bounds["R@1"][0] < 1  # 20 examples are few
    assert protocol["image_protocol"]["resize"] == "squash"
    assert protocol["num_examples"] == 20
  assert task["num_classes"] == 5
  assert task["num_examples"] == 20
  assert task["top_1"] > 0.8
  assert task["chance"] == {"top_1": 0.2, "mean_per_class": 0.2}
  low, high = task["intervals"]["top_1"]
  assert low < task["top_1"] <= high
  assert task["protocol"]["num_templates"] == 20


def _without_what_is_beside(tree):
  """Take intervals and protocol out of a set's results; return both."""
  protocol = tree.pop("protocol")
  bounds = {}
  for direction in ("image_to_text", "text_to_image"):
    bounds |= tree[direction].pop("intervals")
  return bounds, protocol


def test_runs_as_the_training_loop_runs_it():
  embedder = make_embedder()
  whole = jax.NamedSharding(embedder.mesh, jax.P())
  params = jax.device_put(make_table(), whole)
  data = make_data()
  with jax.transfer_guard("disallow"), jax.set_mesh(embedder.mesh):
    embeddings = suite.embed(data, embedder, params)
    results = suite.score(data, embeddings, embedder.mesh)
    suite.gallery(data, embeddings, embedder.mesh)
  assert results == suite.run(data, embedder, make_table())


def test_all_names_are_harder_than_the_split():
  # Name 40 + i, which is in neither split, is at the place of picture i.
  table = make_table()
  table[40:50] = table[:10]
  results = suite.run(make_data(), make_embedder(), table)
  split = results["compositional"]
  assert split["image_to_text"]["R@1"] == 1
  assert split["all_names"]["R@1"] == 0.5
  assert results["unseen_concept"]["all_names"]["R@1"] == 1


def test_nothing_is_embedded_twice():
  tokenizer = Tokenizer()
  data = make_data(languages=("en", "de"))
  data = dataclasses.replace(data, inputs=make_inputs(tokenizer))
  suite.run(data, make_embedder(), make_table())
  # The split `compositional` is that of two sets.
  assert [split.passes for split in data.splits.values()] == [1, 1]
  texts = tokenizer.texts
  assert len(texts) == len(set(texts))
  # 60 English names, 2 x 20 German ones, 5 x 20 prompts.
  assert len(texts) == 200


def test_several_languages():
  data = make_data(languages=("de", "en"))
  results = suite.run(data, make_embedder(), make_table())
  split = results["compositional"]
  assert list(split["languages"]) == ["de", "en"]
  assert split["languages"]["de"]["image_to_text"] == split["image_to_text"]
  scalars = suite.scalars(results)
  assert scalars["compositional/languages/en/text_to_image/R@1"] == 1


def test_a_task_in_a_language_that_is_not_trained_says_so():
  data = make_data(languages=("de",))
  results = suite.run(data, make_embedder(), make_table())
  reason = results["zero_shot"]["skin_tone"]["not_run"]
  assert '"en"' in reason
  assert "de" in reason
  assert f"not run, {reason}" in summary.table(results)
  assert not [name for name in suite.scalars(results) if "zero_shot" in name]


def test_examples_without_a_text_are_left_out():
  data = make_data()
  split = split_of(data, "compositional")
  split.names["en"][:2] = ("", "")
  results = suite.run(data, make_embedder(), make_table())
  assert results["compositional"]["num_candidates"] == 18
  assert results["compositional"]["image_to_text"]["R@1"] == 1
  split.names["en"] = [""] * 20
  with pytest.raises(ValueError, match="sets.compositional has a text in en"):
    suite.run(data, make_embedder(), make_table())


def test_scalars():
  results = suite.run(make_data(), make_embedder(), make_table())
  scalars = suite.scalars(results)
  assert scalars["compositional/image_to_text/R@1"] == 1
  assert scalars["unseen_concept/all_names/median_rank"] == 1
  assert "zero_shot/skin_tone/top_1" in scalars
  assert not [name for name in scalars if "num_" in name]
  assert {type(value) for value in scalars.values()} == {float}


def test_interruption_passes_through():
  embedder = make_embedder(should_stop=lambda: True)
  with pytest.raises(embedding.Interrupted):
    suite.run(make_data(), embedder, make_table())


def test_gallery_shows_the_share_of_hits():
  table = make_table()
  # Names 0 to 9 are at the wrong picture.
  data = make_data()
  split = split_of(data, "compositional")
  split.names["en"] = [f"en {(i + 1) % 10 if i < 10 else i}" for i in range(20)]
  embedder = make_embedder()
  embeddings = suite.embed(data, embedder, table)
  panels = suite.gallery(data, embeddings, embedder.mesh)
  both = ("text_to_image", "image_to_text")
  assert [(p.split, p.direction, bool(p.worst)) for p in panels] == [
    *(
      (split, direction, is_worst)
      for split in ("compositional", "unseen_concept")
      for is_worst in (False, True)
      for direction in both
    ),
    *(("skin_tone", "image_to_class", is_worst) for is_worst in (False, True)),
  ]
  for panel in panels:
    if panel.direction == "image_to_class":
      continue
    scores = [entry.rank for entry in panel.entries]
    assert scores == sorted(scores, reverse=bool(panel.worst))
    if panel.worst:
      assert len(panel.entries) == 5
      continue
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


def test_the_gallery_of_a_labelled_set():
  opened = field_set.FieldSet(
    "mine",
    "classification",
    field_set.source("folder", "mine"),
    texts=("label",),
    classes=("en 0", "en 1", "en 2"),
    templates=("{c}",),
  )
  # Pictures of classes 0, 1 and 2, of which the first two are taken for others.
  split = fake_split.Split(
    keys=[f"k{i}" for i in range(6)],
    names={field_set.LABELS: ["1", "0", "2", "2", "0", "1"]},
    images=meshes.images_of(np.array([0, 1, 2, 2, 0, 1])),
  )
  data = make_data(config=config_of({}))
  data = dataclasses.replace(
    data,
    labelled={"mine": opened},
    splits={suite_data.source_of(opened): split},
  )
  embedder, table = make_embedder(), make_table()
  embeddings = suite.embed(data, embedder, table)
  even, worst = suite.gallery(data, embeddings, embedder.mesh)
  assert (even.split, even.direction) == ("mine", "image_to_class")
  assert [entry.rank == 1 for entry in even.entries] == [True] * 4 + [False] * 2
  assert {entry.text for entry in worst.entries[:2]} == {"en 0", "en 1"}
  for entry in worst.entries[:2]:
    wrong = next(x.text for x in entry.answers if not x.is_right)
    assert wrong == {"en 0": "en 1", "en 1": "en 0"}[entry.text]
    assert entry.rank > 1


def test_a_run_that_evaluates_nothing():
  data = make_data(config=config_of({}))
  embedder, table = make_embedder(), make_table()
  assert suite.run(data, embedder, table) == {}
  embeddings = suite.embed(data, embedder, table)
  assert suite.gallery(data, embeddings, embedder.mesh) == []
  assert suite.scalars({}) == {}


def test_the_gallery_does_not_depend_on_the_order_of_the_data():
  embedder, table = make_embedder(), make_table()
  chosen = []
  for order in (np.arange(20), np.random.default_rng(0).permutation(20)):
    data = make_data()
    split = split_of(data, "compositional")
    shuffled = fake_split.Split(
      keys=[split.keys[i] for i in order],
      names={k: [v[i] for i in order] for k, v in split.names.items()},
      images=split.images[order],
    )
    source = data.config.sets["compositional"].source
    data = dataclasses.replace(data, splits={**data.splits, source: shuffled})
    embeddings = suite.embed(data, embedder, table)
    panel = suite.gallery(data, embeddings, embedder.mesh)[0]
    chosen.append([entry.text for entry in panel.entries])
  assert chosen[0] == chosen[1]


def test_a_set_chooses_its_figures():
  source = sources.source(format="emoji", split="train").to_dict()
  config = config_of({"mine": kinds.retrieval(source, metrics=("R@5",))})
  results = suite.run(make_data(config=config), make_embedder(), make_table())
  direction = {"num_candidates": 20, "num_right": 1.0, "R@5": 1.0}
  bounds, _ = _without_what_is_beside(results["mine"])
  assert list(bounds) == ["R@5"]
  assert results["mine"] == {
    "num_candidates": 20,
    "num_texts": 20,
    "image_to_text": direction,
    "text_to_image": direction,
  }
  lines = summary.table(results).splitlines()
  assert lines[0].split() == ["mine", "of", "R@5"]
  assert lines[1].split() == ["image", "to", "text", "20", "1.000", "(0.250)"]


@pytest.mark.parametrize(
  ("name", "fields", "words"),
  [
    ("skin_tone", {"label": "x"}, "label must be one of key_part"),
    ("skin_tone", {"classes": ()}, "classes must have at least one"),
    ("skin_tone", {"templates": ("a",)}, "templates must each have one {}"),
    ("skin_tone", {"label_values": ("1",)}, "label_values must have 5 items"),
    ("skin_tone", {"metrics": ("R@1",)}, "metrics must be one of top_1.*'R@1'"),
    ("compositional", {"metrics": ("R@2",)}, "metrics must be one of R@1"),
    ("compositional", {"metrics": ()}, "metrics must have at least one"),
    ("compositional", {"kind": "x"}, "kind must be one of retrieval, zero_sh"),
  ],
)
def test_refused_fields_of_a_set(name, fields, words):
  source = sources.source(format="emoji").to_dict()
  with pytest.raises(ValueError, match=rf"sets\.{name}\..*{words}"):
    config_of({name: sets.SETS[name](source) | fields}).check()


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"format": "x"}, "format must be one of emoji.*'x'"),
    ({"weight": 0.5}, "weight must be 0 in an evaluation; got 0.5"),
    ({"keep": "k"}, "keep must be '' in an evaluation; got 'k'"),
  ],
)
def test_refused_fields_of_a_source(fields, words):
  source = sources.source(**({"format": "emoji"} | fields)).to_dict()
  with pytest.raises(ValueError, match=f"^evaluate.sets.mine.source.{words}"):
    config_of({"mine": kinds.retrieval(source)}).check()


@pytest.mark.parametrize("name", ["zero_shot", "inputs"])
def test_a_set_cannot_have_the_name_of_a_group(name):
  source = sources.source(format="emoji").to_dict()
  with pytest.raises(ValueError, match=f"other names than '{name}'"):
    config_of({name: kinds.retrieval(source)}).check()


def test_all_captions_of_an_image_count():
  """Five captions each, as in COCO: each is a query, each is right."""
  data = make_data()
  split = split_of(data, "compositional")
  # Names i, 20 + i, ... are at five places; only the first is at picture i.
  split.names["en"] = [
    [f"en {i + 20 * k}" for k in range(5)] for i in range(20)
  ]
  table = make_table()
  results = suite.run(data, make_embedder(), table)["compositional"]
  assert (results["num_candidates"], results["num_texts"]) == (20, 100)
  to_text, to_image = results["image_to_text"], results["text_to_image"]
  assert (to_text["num_candidates"], to_text["num_right"]) == (100, 5)
  assert (to_image["num_candidates"], to_image["num_right"]) == (20, 1)
  assert to_text["R@1"] == 1  # by the first caption
  z = table[:100] @ table[:20].T
  best = (z.argmax(1) == np.arange(100) % 20).mean()
  assert 0.2 <= to_image["R@1"] == best < 0.5


def test_only_sources_of_sets_are_opened(monkeypatch, tmp_path):
  opened = []

  def open_split(source, split, place):
    records = fake_records.Records(source.path, 3)
    opened.append((source.path, split, records.touched))
    return records

  module = types.SimpleNamespace(
    LANGUAGES=None,
    splits=lambda source, place: ("a", "b"),
    open_split=open_split,
  )
  monkeypatch.setitem(formats.FORMATS, "fake", module)
  data = fake_source.config(tmp_path, names=("main", "more"))

  inputs = make_inputs()
  assert not suite_data.load_data(config_of({}), data, inputs, "float32").splits
  assert not opened

  source = sources.source(format="fake", path="mine", split="a").to_dict()
  plain = kinds.retrieval(source)
  named = config_of({"one": plain, "two": plain})
  loaded = suite_data.load_data(named, data, inputs, "float32")
  assert opened == [("mine", "a", [])]  # and nothing read
  (split,) = loaded.splits.values()
  assert sum(len(batch.keys) for batch in split.batches(2)) == 3
  assert sorted(opened[0][2]) == [0, 1, 2]

  opened.clear()
  named = kinds.retrieval(source, all_names=True)
  loaded = suite_data.load_data(
    config_of({"one": named}), data, inputs, "float32"
  )
  every = [0, 1, 2]
  assert opened == [
    ("mine", "a", []),
    ("mine", "a", every),
    ("mine", "b", every),
  ]
  assert list(loaded.names.values()) == [
    ("mine 0", "mine 0", "mine 1", "mine 1", "mine 2", "mine 2")
  ]
