"""Tokens of captions: Java's beside goldens and the library's own call."""

import shutil

import pytest
from pycocoevalcap.tokenizer import ptbtokenizer

from evaluators.metrics.generation import coco_caption, overlap, tokens
from tests import programs

CAPTIONS = [
  "A man riding a wave on top of a surfboard.",
  "",
  "Two dogs (small) aren't playing -- in the \"snow\"; it's cold!",
  "Caf\u00e9 na\u00efve don\u2019t e.g. U.S. $5.00",
  " ...",
  "",
]
# By Stanford CoreNLP 3.4.1, which pycocoevalcap 1.2 carries.
TOKENS = [
  "a man riding a wave on top of a surfboard",
  "",
  "two dogs -lrb- small -rrb- are n't playing in the snow it 's cold",
  "caf\u00e9 na\u00efve do n't e.g. u.s. $ 5.00",
  "",
  "",
]


def _need_java():
  programs.need(
    [] if shutil.which("java") else ["java"], "default-jre-headless"
  )


@pytest.mark.slow
def test_java_s_tokens():
  """Ends of lines that Java sees too do not move the captions behind them."""
  _need_java()
  got = tokens.tokenize([*CAPTIONS, "a man\u2028riding\r\x85a", "wave"])
  assert got == [*TOKENS, "a man riding a", "wave"]


@pytest.mark.long
def test_the_library_s_own_call():
  _need_java()
  got = ptbtokenizer.PTBTokenizer().tokenize(
    {i: [{"caption": text}] for i, text in enumerate(CAPTIONS[:-1])}
  )
  assert [got[i] for i in range(len(got))] == [[x] for x in TOKENS[:-1]]


@pytest.mark.long
def test_meteor():
  """METEOR 1.5 of the carried program; an empty caption is no fault."""
  _need_java()
  captions = ["a man rides a wave", "two dogs play in snow", ""]
  references = [
    ["a man riding a wave on a surfboard", "the surfer rides a wave"],
    ["two dogs are playing in the snow", "dogs in snow"],
    ["a cat", "a dog"],
  ]
  judged = overlap.judge(captions, references, meteor=True)
  assert judged.figures()["METEOR"] == pytest.approx(0.34064042021960117)
  assert "METEOR" not in judged.intervals()


def test_a_pattern_s_tokens():
  assert tokens.tokenize(
    ["Two dogs' toys aren't red.", "", "\u00c9t\u00e9 5"], "regex"
  ) == [
    "two dogs toys aren't red",
    "",
    "\u00e9t\u00e9 5",
  ]


def test_messages(monkeypatch):
  with pytest.raises(
    ValueError, match="tokens must be one of ptb, regex; got 'x'"
  ):
    tokens.check("x")
  monkeypatch.setattr(coco_caption.shutil, "which", lambda name: None)
  with pytest.raises(FileNotFoundError, match='tokens="regex" needs none'):
    tokens.tokenize(["a"])


@pytest.mark.parametrize(
  ("program", "message"),
  [("cat", "must return 3 lines"), ("false", "exit status 1")],
)
def test_java_that_fails(monkeypatch, program, message):
  """A program that returns other lines, or none, is an error."""
  monkeypatch.setattr(coco_caption, "check_java", lambda: shutil.which(program))
  with pytest.raises(RuntimeError, match=message):
    tokens.tokenize(["a", "b"])
