"""--task=metadata, on corpora made by hand."""

import gzip
import json
import re

import pytest

from configs.curate import metadata
from curation.engine import engines
from curation.metadata import build, corpora, metadata_config, pageviews
from runtime import processes

# red fox: 5 times, of 6 and 6; the others once or twice.
TEXT = """\
the red fox and the red fox
The red fox. a red car, the fox
the red fox <br> the red fox
a car; a car; the
"""
VIEWS = b"""\
en Red_fox 80 0
en Fox 60 0
en fox 500 0
en Talk:Fox 900 0
de Fuchs 90 0
de.m Fuchs 2 0
de Auto 5 0
"""


class Reversed(engines.Inline):
  """Does the last task first."""

  def run(self, fn, tasks):
    last = len(tasks) - 1
    for number, result in super().run(fn, tasks[::-1]):
      yield last - number, result


class Failing(engines.Inline):
  """Fails at the second part of a text."""

  def run(self, fn, tasks):
    for number, result in super().run(fn, tasks):
      yield number, result
      if "corpus" in fn.keywords:
        yield number + 1, processes.task_error(OSError("no memory"))


def values(folder, **changed):
  language = metadata.language(
    max_entries=108,
    corpus={"format": "text", "path": f"{folder}/wiki_*"},
    unigrams={"source": "corpus", "min_count": 2, "max_entries": 4},
    bigrams={"scorer": "count_pmi", "max_entries": 1},
    titles={
      "path": f"{folder}/pageviews-*.gz",
      "domains": ("en",),
      "min_line_views": 50,
      "min_views": 70,
    },
  )
  language.update(changed)
  return {"languages": {"en": language.to_dict()}}


@pytest.fixture
def folder(tmp_path):
  lines = TEXT.splitlines(keepends=True)
  for number in range(2):
    text = "".join(lines[2 * number : 2 * number + 2])
    (tmp_path / f"wiki_{number}").write_text(text)
    views = gzip.compress(VIEWS)
    (tmp_path / f"pageviews-{number}.gz").write_bytes(views)
  return tmp_path


@pytest.fixture
def cut(monkeypatch):
  """Cut a corpus into several tasks."""
  find = corpora.find
  monkeypatch.setattr(corpora, "find", lambda *args: find(*args, part_bytes=40))


def run(config, out, engine=None):
  return build.build(
    metadata_config.checked(config), out, engine or engines.Inline()
  )


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_entries_by_hand(folder):
  facts = run(values(folder), folder / "out")
  lines = (folder / "out" / "en.txt").read_text().splitlines()
  assert lines[:100] == [str(n) for n in range(100)]
  # the 6, fox 6, red 6, a 3, car 3: four, ties by the word; then the best
  # bigram; then titles: Red fox 160, fox 1000 (is there), Fox 120.
  assert lines[100:] == ["fox", "red", "the", "a", "red fox", "Red fox", "Fox"]
  found = json.loads((folder / "out" / "metadata.json").read_text())
  assert found == json.loads(json.dumps(facts))
  sources = {x["name"]: x for x in found["languages"]["en"]["sources"]}
  assert sources["unigrams"]["added"] == 4
  assert sources["unigrams"]["last_value"] == 3
  assert sources["titles"]["added"] == 2
  assert sources["titles"]["last_value"] == 120
  # Nothing is left of the counting.
  assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["reversed", "processes"])
def test_the_same_bytes_whoever_works(folder, cut, name):
  run(values(folder), folder / "one")
  engine = Reversed() if name == "reversed" else engines.make(name, 2)
  try:
    run(values(folder), folder / "two", engine)
  finally:
    engine.close()
  assert contents(folder / "one") == contents(folder / "two")


def test_a_count_that_was_stopped_goes_on(folder, cut, monkeypatch):
  run(values(folder), folder / "whole")
  with pytest.raises(ValueError, match="no memory. What was counted"):
    run(values(folder), folder / "out", Failing())
  assert not (folder / "out").exists()
  assert len(list((folder / ".out.unfinished").glob("en-*/tasks/*"))) == 1
  # Counted parts are not read again.
  seen = []
  monkeypatch.setattr(
    corpora,
    "read",
    lambda part, corpus, read=corpora.read: (
      seen.append(part) or read(part, corpus)
    ),
  )
  monkeypatch.delattr(pageviews, "count")
  run(values(folder), folder / "out")
  corpus = metadata_config.checked(values(folder)).languages["en"].corpus
  tasks = corpora.find(corpus, "")
  assert seen == [part for task in tasks[1:] for part in task]
  assert contents(folder / "out") == contents(folder / "whole")


def test_a_score_that_no_bigram_has(folder, caplog):
  # The published limit, of a corpus of 2^30 tokens and more.
  bigrams = {"scorer": "pmi", "min_score": 30.0}
  facts = run(values(folder, bigrams=bigrams), folder / "out")
  sources = {x["name"]: x for x in facts["languages"]["en"]["sources"]}
  assert sources["bigrams"]["added"] == 0
  assert "min_score=30; PMI cannot be above" in caplog.text


def test_a_corpus_without_words(tmp_path):
  (tmp_path / "wiki_0").write_text("... ?\n")
  (tmp_path / "wiki_1").write_text("")
  config = values(tmp_path, titles={"path": ""})
  facts = run(config, tmp_path / "out")
  assert facts["languages"]["en"]["entries"] == 100


def test_shares_of_a_language_and_words_without_spaces(folder):
  (folder / "zh.jsonl").write_text(
    json.dumps({"text": "我喜欢北京。我喜欢北京。我。大学"}, ensure_ascii=False)
  )
  config = values(folder)
  config["languages"]["zh"] = metadata.language(
    corpus={
      "format": "jsonl",
      "path": f"{folder}/zh.jsonl",
      "splitter": "icu",
      "joiner": "",
    },
    unigrams={"source": "corpus", "fraction": 0.5},
    bigrams={"scorer": "pmi", "max_entries": 1},
    titles={
      "path": f"{folder}/pageviews-*.gz",
      "domains": ("de", "de.m"),
      "fraction": 0.5,
    },
  ).to_dict()
  run(config, folder / "out")
  lines = (folder / "out" / "zh.txt").read_text().splitlines()
  # Half of four words, the best of two bigrams, half of two titles.
  assert lines[100:] == ["我", "北京", "喜欢北京", "Fuchs"]
  assert (folder / "out" / "en.txt").exists()


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"corpus": {"path": "none*"}}, "languages.en.corpus.path matches no file"),
    ({"titles": {"path": "none*"}}, "languages.en.titles.path matches no file"),
    ({"titles": {"domains": ()}}, "titles.domains must name domains"),
    ({"bigrams": {"scorer": "npmi"}}, "must be one of '', pmi, count_pmi"),
    ({"corpus": {"format": ""}}, "but unigrams or bigrams are counted in it"),
    ({"unigrams": {"fraction": 0.0}}, "fraction must be above 0; got 0.0"),
    ({"max_chars": 0}, "languages.en.max_chars must be at least 1; got 0"),
    ({"wordnet": {"format": "omw"}}, "wordnet.path must name a tab file"),
    (
      {"wordnet": {"format": "wndb", "path": "none"}},
      "none has no data.noun, index.noun",
    ),
  ],
)
def test_mistakes_are_said_before_anything_is_written(folder, changed, message):
  before = sorted(folder.iterdir())
  with pytest.raises(ValueError, match=re.escape(message)):
    run(values(folder, **changed), folder / "out")
  assert sorted(folder.iterdir()) == before


def test_a_package_that_is_missing(folder, monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  config = values(folder, unigrams={"source": "wordfreq"})
  with pytest.raises(ValueError, match="source needs the package wordfreq"):
    run(config, folder / "out")


def test_a_config_of_another_kind(tmp_path):
  with pytest.raises(ValueError, match="expected the field languages alone"):
    metadata_config.checked({"seed": 0})
  language = metadata.language().to_dict()
  with pytest.raises(ValueError, match="letters, digits, - and _; got '../x'"):
    metadata_config.checked({"languages": {"../x": language}})


def test_what_is_there_is_not_written_over(folder):
  (folder / "out").mkdir()
  (folder / "out" / "notes").write_text("mine")
  with pytest.raises(
    ValueError, match="must be a new or empty folder; it has notes"
  ):
    run(values(folder), folder / "out")


@pytest.mark.parametrize(
  "variant", ["packages", "mini", "wikipedia", "worldwide"]
)
def test_variants(variant):
  config = metadata.get_config(variant)
  found = metadata_config.checked(config.to_dict()).languages
  assert found["en"].max_chars == 256
  if variant == "wikipedia":
    en = found["en"]
    limits = (x.max_entries for x in (en.unigrams, en.bigrams, en.titles))
    # MetaCLIP, table 1.
    assert 86_654 + sum(limits) == en.max_entries == 500_000
  if variant == "worldwide":
    assert found["th"].corpus.splitter == "icu"


def test_an_unknown_variant():
  with pytest.raises(ValueError, match="must be one of packages, mini"):
    metadata.get_config("large")
