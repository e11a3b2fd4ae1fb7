"""Records of captions: names, domains, chance, and what they refuse."""

import doctest

import pytest

from evaluators import summary
from evaluators.metrics.generation import (
  captioning,
  chair,
  clip_score,
  pope,
  referring,
  tokens,
)
from tests.evaluators import test_results_schema

CAPTIONS = {
  "1": "A man rides a wave.",
  "2": "Two dogs play in the snow",
  "3": "a red bus",
  "4": "",
}
REFERENCES = {
  "4": ["A black cat sits on a mat", "a cat"],
  "3": ["a red bus on a street", "a bus"],
  "2": ["Two dogs are playing in the snow"],
  "1": ["a man riding a wave", "The surfer rides a big wave!"],
}


@pytest.mark.parametrize(
  "module",
  [captioning, chair, clip_score, pope, referring, tokens],
  ids=lambda module: module.__name__.split(".")[-1],
)
def test_examples(module):
  results = doctest.testmod(module)
  assert results.attempted
  assert not results.failed


def test_names_say_which_tokens(monkeypatch):
  """No figure of another tokenizer has the name of a published one."""
  made = captioning.record(CAPTIONS, REFERENCES, tokenizer="regex")
  figures = {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"}
  assert made["intervals"].keys() == {f"{x} (regex tokens)" for x in figures}
  assert not figures & made.keys()
  assert made["protocol"]["num_references"] == [1, 2]
  assert made["protocol"]["library"] == "pycocoevalcap 1.2"
  assert "ours" in made["protocol"]["tokens"]
  # Tokens are the pattern's in place of Java's, which starts a process.
  monkeypatch.setattr(tokens, "check", lambda name: None)
  monkeypatch.setitem(tokens._TOKENIZERS, "ptb", tokens._regex)
  published = captioning.record(CAPTIONS, REFERENCES)
  assert published["intervals"].keys() == figures
  assert published["CIDEr"] == made["CIDEr (regex tokens)"]


def test_a_record():
  domains = dict(zip("1234", ("in", "in", "near", "in"), strict=True))
  made = captioning.record(CAPTIONS, REFERENCES, domains, tokenizer="regex")
  assert (made["num_images"], made["num_references"]) == (4, 7)
  assert made["num_empty"] == 1
  # A domain by itself is what it is among the others.
  some = captioning.record(
    {k: CAPTIONS[k] for k in "124"},
    {k: REFERENCES[k] for k in "124"},
    tokenizer="regex",
  )
  for key, value in made["parts"]["in"].items():
    assert some[key] == value
  assert "one image" in made["parts"]["near"]["not_run"]
  # Captions are of their own images.
  name = "CIDEr (regex tokens)"
  assert made[name] > 5 * made["chance"][name]
  results = {"nocaps": made}
  test_results_schema.validate(results)
  rows = summary.rows(results)
  assert [(x.label, x.num_candidates) for x in rows] == [
    ("overall", 4),
    ("in", 3),
    ("near", 1),
  ]
  assert "CIDEr (regex tokens)" in summary.table(results)
  assert "near: not run" in summary.table(results)


def test_chance_is_of_the_next_image():
  made = captioning.record(CAPTIONS, REFERENCES, tokenizer="regex")
  moved = {"1": "2", "2": "3", "3": "4", "4": "1"}
  others = {name: REFERENCES[other] for name, other in moved.items()}
  expected = captioning.record(CAPTIONS, others, tokenizer="regex")
  for name, value in made["chance"].items():
    assert expected[name] == pytest.approx(value)


def test_messages():
  def refused(message, captions=CAPTIONS, references=REFERENCES, *args, **kw):
    with pytest.raises(ValueError, match=message):
      captioning.record(
        captions, references, *args, **{"tokenizer": "regex"} | kw
      )

  some = {k: v for k, v in CAPTIONS.items() if k != "2"}
  refused(r"1 of references alone, as \['2'\], and 0", some)
  refused(r"0 of references alone.* and 1 .* \['5'\]", CAPTIONS | {"5": "x"})
  refused("captions and domains", CAPTIONS, REFERENCES, {"1": "in"})
  refused("at least 2 images", {"1": "a"}, {"1": ["a"]})
  refused(
    r"none of 2 images, as \['2', '4'\]",
    *(CAPTIONS, REFERENCES | {"4": [], "2": ["...", ""]}),
  )
  refused("must have tokenizer='ptb'; got 'regex'", meteor=True)
