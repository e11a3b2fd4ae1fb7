"""Published tokenizers against goldens of open_clip's and transformers' own.

golden/make.py made them, with small vocabularies of the same kinds.
"""

import dataclasses
import gzip
import pathlib
import pickle
from concurrent import futures

import numpy as np
import pytest

from input_pipeline import tokenizers
from input_pipeline.tokenizers import (
  clip,
  rules,
  sentencepiece,
  vocabulary,
)
from tests.input_pipeline.tokenizers import texts

GOLDEN = pathlib.Path(__file__).parent / "golden"
TEXTS = [*texts.TEXTS, *texts.MARKS]
# Name in TOKENIZERS -> the file in the golden, its name, the golden ids.
CASES = {
  "clip": ("merges", "merges.txt", "open_clip.npz", "ids", 77),
  "wordpiece": (
    "wordpiece",
    "vocab.txt",
    "transformers.npz",
    "wordpiece_ids",
    64,
  ),
  "siglip": ("siglip", "spiece.model", "transformers.npz", "siglip_ids", 64),
  "siglip2": (
    "siglip2",
    "tokenizer.model",
    "transformers.npz",
    "siglip2_ids",
    64,
  ),
}
# A letter many times over can be cut in several ways of equal score.
# transformers, which puts "<unk>" before a text, takes another one than
# SentencePiece itself, which we call as it is.
TIES = {"siglip": [i for i, text in enumerate(TEXTS) if len({*text}) == 1]}


def _golden(file: str, key: str) -> np.ndarray:
  with np.load(GOLDEN / file, allow_pickle=False) as arrays:
    return arrays[key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
  """Return a folder with one folder for each small vocabulary."""
  folder = tmp_path_factory.mktemp("vocabularies")
  for name, (key, file, *_) in CASES.items():
    (folder / name).mkdir()
    data = _golden("transformers.npz", key).tobytes()
    (folder / name / file).write_bytes(data)
  return folder


def _make(name, path, *, num_tokens=None, vocab_size=100_000):
  return tokenizers.TOKENIZERS[name](
    lambda: pytest.fail("read the captions"),
    pathlib.Path("not", "there"),
    languages=("en",),
    vocab_size=vocab_size,
    num_tokens=num_tokens or CASES[name][-1],
    path=str(path),
  )


@pytest.mark.parametrize("name", CASES)
def test_ids_are_the_originals(name, folder):
  *_, file, key, num_tokens = CASES[name]
  ids = _make(name, folder / name)(TEXTS)
  golden = _golden(file, key)
  assert ids.shape == (len(TEXTS), num_tokens)
  assert ids.dtype == np.int32
  compared = np.setdiff1d(np.arange(len(TEXTS)), TIES.get(name, []))
  for i in compared:
    np.testing.assert_array_equal(ids[i], golden[i], err_msg=repr(TEXTS[i]))


def test_ids_of_transformers_clip(folder):
  tokenizer = clip.load_hf(folder / "clip" / "merges.txt", 77)
  assert tokenizer.pad_id == tokenizer.eos_id
  golden = _golden("transformers.npz", "clip_ids")
  for text, row, expected in zip(TEXTS, tokenizer(TEXTS), golden, strict=True):
    np.testing.assert_array_equal(row, expected, err_msg=repr(text))


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("clip", "a photo of cat & a t ."),
    ("wordpiece", "a photo of cat & a t."),
    ("siglip", "a photo of cat a t"),
    ("siglip2", " a photo  of cat & a t."),
  ],
)
def test_decode(name, expected, folder):
  tokenizer = _make(name, folder / name)
  (ids,) = tokenizer([" A photo  of Cat & a T."])
  assert tokenizer.decode(ids) == expected


@pytest.mark.parametrize("name", CASES)
def test_a_cut_text_is_a_prefix_that_still_ends(name, folder):
  long = _make(name, folder / name)(["a photo of a small cat"])[0]
  tokenizer = _make(name, folder / name, num_tokens=6)
  (short,) = tokenizer(["a photo of a small cat"])
  np.testing.assert_array_equal(short[:5], long[:5])
  assert short[5] == tokenizer.eos_id


def test_published_rules_hold_for_their_kinds(folder):
  """All but the ids of marks, which follow the size of the vocabulary."""
  for name, rule in (
    ("clip", rules.CLIP),
    ("wordpiece", rules.BERT),
    ("siglip", rules.SIGLIP),
    ("siglip2", rules.SIGLIP2),
  ):
    got = _make(name, folder / name).rule
    ids = {"bos_id": got.bos_id, "eos_id": got.eos_id}
    assert got == dataclasses.replace(rule, **ids)


def test_lit_leaves_out_the_end(folder):
  with_end = _make("wordpiece", folder / "wordpiece", num_tokens=8)
  without = _make("wordpiece_lit", folder / "wordpiece", num_tokens=8)
  (ids,), (expected,) = without(["a b c"]), with_end(["a b c"])
  assert without.eos_id is None
  expected[expected == with_end.eos_id] = 0
  np.testing.assert_array_equal(ids, expected)
  # A cut text keeps its own tokens to the last place.
  assert with_end.eos_id not in without(["a b c d e f g h i j k"])
  assert without.decode(ids) == "a b c"


def test_siglip_is_trained_with_punctuation(folder):
  train = _make("siglip_train", folder / "siglip", num_tokens=16)
  release = _make("siglip", folder / "siglip", num_tokens=16)
  assert train.decode(train(["A Cat. !"])[0]) == "a cat. !"
  assert release.decode(release(["a cat."])[0]) == "a cat"
  np.testing.assert_array_equal(train(["a cat"]), release(["a cat"]))
  plain = _make("sentencepiece", folder / "siglip", num_tokens=16)
  assert (plain.pad_id, plain.eos_id) == (0, 1)
  assert plain.decode(plain(["A Cat."])[0]) == "A Cat."


@pytest.mark.parametrize("name", CASES)
def test_threads_share_a_tokenizer_and_processes_a_copy(name, folder):
  tokenizer = _make(name, folder / name)
  expected = tokenizer(TEXTS)
  with futures.ThreadPoolExecutor(4) as pool:
    rows = list(pool.map(lambda text: tokenizer([text])[0], TEXTS * 4))
  np.testing.assert_array_equal(rows, np.tile(expected, (4, 1)))
  copy = pickle.loads(pickle.dumps(tokenizer))
  np.testing.assert_array_equal(copy(TEXTS), expected)


def test_files_of_clip_agree(folder, tmp_path):
  text = (folder / "clip" / "merges.txt").read_bytes()
  zipped = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
  zipped.write_bytes(gzip.compress(text))
  compiled = clip.load_hf(folder / "clip" / "merges.txt", 77).codec.tokenizer
  compiled.save(str(tmp_path / "tokenizer.json"))
  expected = _make("clip", folder / "clip")(TEXTS)
  for path in (tmp_path, tmp_path / "tokenizer.json"):
    np.testing.assert_array_equal(_make("clip", path)(TEXTS), expected)


ORIGINS = {
  "clip": "bpe_simple_vocab_16e6.txt.gz.*open_clip_torch.*openai/clip",
  "wordpiece": "vocab.txt.*google-bert/bert-base-uncased",
  "wordpiece_lit": "vocab.txt.*google-bert/bert-base-uncased",
  "sentencepiece": "spiece.model.*google-t5/t5-base",
  "siglip": "spiece.model.*google/siglip-base-patch16-224",
  "siglip_train": "spiece.model.*google/siglip-base-patch16-224",
  "siglip2": "tokenizer.model.*google/gemma-2b",
  "hf": "tokenizer.json.*facebook/metaclip-2",
}


@pytest.mark.parametrize(
  "name", sorted(set(tokenizers.TOKENIZERS) - set(tokenizers.WITHOUT_FILE))
)
def test_missing_file_names_the_file_its_origin_and_the_flag(name, tmp_path):
  expected = f'data.tokenizer="{name}" reads its vocabulary from .*'
  expected += ORIGINS[name] + f".*{vocabulary.FLAG}=PATH; got "
  for path, got in (
    ("", '""'),
    (tmp_path, "a folder without any of these"),
    (tmp_path / "x", ".*which is not there"),
  ):
    with pytest.raises(FileNotFoundError, match=expected + got):
      _make(name, path, num_tokens=8)


@pytest.mark.parametrize("name", CASES)
def test_vocabulary_larger_than_the_embedding(name, folder):
  size = _make(name, folder / name).vocab_size
  with pytest.raises(
    ValueError, match=f"vocab_size of at least {size}; got {size - 1}"
  ):
    _make(name, folder / name, vocab_size=size - 1)
  _make(name, folder / name, vocab_size=size)


@pytest.mark.parametrize(
  ("name", "file", "data", "expected"),
  [
    ("clip", "merges.txt", b"#version\na b c\n", "a merge is two pieces"),
    ("clip", "merges.txt", b"", "no merges"),
    ("clip", "merges.txt", b"#version\nab cd\n", "do not build on each other"),
    ("clip", "merges.txt", b"\n\xff\xfe", "decode"),
    ("clip", "bpe_simple_vocab_16e6.txt.gz", b"x", "gzip"),
    ("clip", "tokenizer.json", b"{}", "model"),
    ("wordpiece", "vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n", r"lacks \[SEP\]"),
    ("wordpiece", "vocab.txt", b"\xff", "decode"),
    ("wordpiece", "tokenizer.json", b"{}", "tokenizer.json is no vocabulary"),
    ("siglip", "spiece.model", b"x", "spiece.model is no vocabulary"),
  ],
)
def test_files_of_another_kind(name, file, data, expected, tmp_path):
  (tmp_path / file).write_bytes(data)
  with pytest.raises(ValueError, match=expected):
    _make(name, tmp_path)


def test_a_model_with_other_marks(folder):
  """Gemma's padding and end are T5's, so only a changed rule can tell."""
  file = folder / "siglip2" / "tokenizer.model"
  assert sentencepiece.load(file, 8, "siglip2").vocab_size > 0
  with pytest.MonkeyPatch.context() as patch:
    rule = dataclasses.replace(rules.SIGLIP2, eos_id=5)
    patch.setitem(sentencepiece._RULES, "siglip2", (rule, ""))
    with pytest.raises(ValueError, match="end of a text is id 1, expected 5"):
      sentencepiece.load(file, 8, "siglip2")
    rule = dataclasses.replace(rules.SIGLIP2, pad_id=5)
    patch.setitem(sentencepiece._RULES, "siglip2", (rule, ""))
    with pytest.raises(ValueError, match="padding is id 0, expected 5"):
      sentencepiece.load(file, 8, "siglip2")
