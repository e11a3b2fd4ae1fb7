"""The rule of the vocabularies made here, and what BPE adds."""

import dataclasses
import pathlib
import subprocess
import sys
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from input_pipeline import pipeline, tokenizers
from input_pipeline.tokenizers import bpe
from tests.input_pipeline import splits

ROOT = pathlib.Path(__file__).parents[3]
TEXTS = [
  f"{person} {job} {tone} skin tone"
  for person in ("woman", "man")
  for job in ("firefighter", "cook", "pilot")
  for tone in ("light", "medium-light", "medium", "medium-dark", "dark")
]
NAMES = list(tokenizers.WITHOUT_FILE)
PAD, EOS = 0, 1


def _make(name, folder, num_tokens=16, vocab_size=400):
  return tokenizers.TOKENIZERS[name](
    lambda: TEXTS,
    folder / "tokenizers",
    languages=("en",),
    vocab_size=vocab_size,
    num_tokens=num_tokens,
  )


@pytest.fixture(scope="module", params=NAMES)
def make(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param)
  return lambda **options: _make(request.param, folder, **options)


def _normal(text: str) -> str:
  return unicodedata.normalize("NFKC", text).lower()


@hypothesis.given(text=strategies.text(max_size=20))
@hypothesis.settings(
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_round_trip(make, text):
  tokenizer = make(num_tokens=400)
  (ids,) = tokenizer([text])
  # Python and the tokenizers package may hold different versions of Unicode,
  # so the text is compared after it went through once.
  once = tokenizer.decode(ids)
  assert tokenizer.decode(tokenizer([once])[0]) == once
  if text.isascii():
    assert once == _normal(text)


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("Woman Firefighter", "woman firefighter"),
    ("flag: Côte d’Ivoire (blood)", "flag: côte d’ivoire (blood)"),
    ("ＡＢＣ ﬁ", "abc fi"),
    ("女消防员", "女消防员"),
    ("  two  spaces ", "  two  spaces "),
    ("", ""),
  ],
)
def test_decode(make, text, expected):
  tokenizer = make(num_tokens=100)
  assert tokenizer.decode(tokenizer([text])[0]) == expected


@hypothesis.given(
  texts=strategies.lists(strategies.text(max_size=30), max_size=4),
  num_tokens=strategies.integers(2, 20),
)
@hypothesis.settings(
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_every_text_ends_once_and_is_padded(make, texts, num_tokens):
  tokenizer = make(num_tokens=num_tokens)
  ids = tokenizer(texts)
  assert ids.shape == (len(texts), num_tokens)
  assert ids.dtype == np.int32
  assert ids.size == 0 or ids.max() < tokenizer.vocab_size
  for row in ids:
    (end,) = np.flatnonzero(row == EOS)
    assert (row[:end] > EOS).all()
    assert (row[end + 1 :] == PAD).all()


def test_truncation_keeps_the_beginning(make):
  text = "woman firefighter medium-dark skin tone 1234567890"
  long = make(num_tokens=100)([text])[0]
  short = make(num_tokens=4)([text])[0]
  np.testing.assert_array_equal(short[:3], long[:3])
  assert short[3] == EOS


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary_too_small(name, tmp_path):
  with pytest.raises(ValueError, match="vocab_size of at least 258.*got 257"):
    _make(name, tmp_path, vocab_size=257)
  _make(name, tmp_path, vocab_size=258)


def test_words_become_tokens(tmp_path):
  tokenizer = _make("bpe", tmp_path)
  (ids,) = tokenizer(["Woman firefighter medium-dark skin tone"])
  assert np.count_nonzero(ids) == 6  # five words and the end
  # The same word at the beginning and in the middle is the same token.
  first, second, _ = tokenizer(["pilot pilot"])[0][:3]
  assert first == second


def test_punctuation_is_not_part_of_a_word(tmp_path):
  tokenizer = _make("bpe", tmp_path)
  ids = tokenizer(["(dark)", "dark"])
  assert ids[1, 0] not in ids[0]  # " dark" and "dark" after "("
  words = bpe.train(["(dark) «dark» x,dark"] * 50, 300).get_vocab()
  assert "dark" in words
  assert not any("dark" in word and word.strip("Ġ") != "dark" for word in words)


@pytest.mark.parametrize("name", ["bpe", "bytes"])
def test_marks_are_ids_without_text(name, tmp_path):
  assert _make(name, tmp_path).marks == {0, 1}


def test_padding_that_is_a_word_is_no_mark(tmp_path):
  """CLIP's rule pads with "!", which texts have too."""
  tokenizer = _make("bytes", tmp_path)
  rule = dataclasses.replace(tokenizer.rule, pad_id=tokenizer.ids("!")[0])
  assert dataclasses.replace(tokenizer, rule=rule).marks == {1}


def test_file_is_read_again(tmp_path):
  first = _make("bpe", tmp_path)
  (path,) = (tmp_path / "tokenizers").iterdir()

  def fail():
    raise AssertionError("trained a second time")

  again = bpe.make_tokenizer(
    fail, path.parent, languages=("en",), vocab_size=400, num_tokens=16
  )
  np.testing.assert_array_equal(first(TEXTS), again(TEXTS))


def test_broken_file(tmp_path):
  _make("bpe", tmp_path)
  (path,) = (tmp_path / "tokenizers").iterdir()
  path.write_text(path.read_text()[:-100])
  with pytest.raises(ValueError, match="is no tokenizer, remove it"):
    _make("bpe", tmp_path)


def test_training_is_deterministic():
  """Two processes with other hash seeds and threads agree to the byte."""
  script = (
    "from input_pipeline.tokenizers import bpe\n"
    # Many ties: each word is as frequent as the others.
    "texts = [f'{a}{b}{c}' for a in 'abc' for b in 'xyz' for c in 'klm'] * 3\n"
    "print(bpe.train(texts, 300).to_str())"
  )
  outputs = {
    subprocess.run(
      [sys.executable, "-c", script],
      cwd=ROOT,
      env={"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed},
      capture_output=True,
      check=True,
    ).stdout
    for seed in ("1", "2")
  }
  assert len(outputs) == 1
  assert b"<eos>" in outputs.pop()


def test_emoji_names_fit(config):
  """No English name is cut at the default 16 tokens; common words are whole."""
  tokenizer = pipeline.make_tokenizer(config)
  assert tokenizer.vocab_size <= config.vocab_size
  names = splits.all_texts(config)["en"]
  ids = tokenizer(names)
  decoded = [tokenizer.decode(row) for row in ids]
  assert decoded == [_normal(name) for name in names]
  for word in ("firefighter", "medium-dark", "skin", "tone", "woman"):
    assert np.count_nonzero(tokenizer([word])) == 2


def test_tokenizer_sees_only_the_training_split(config, monkeypatch):
  seen = []

  def make(texts, *args, **options):
    seen.extend(texts())

  monkeypatch.setitem(tokenizers.TOKENIZERS, "bpe", make)
  pipeline.make_tokenizer(config)
  train = splits.read_split(config, "train").texts["en"]
  assert sorted(seen) == sorted(train)
