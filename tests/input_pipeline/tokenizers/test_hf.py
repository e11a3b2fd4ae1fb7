"""Model folders of Hugging Face and open_clip: the file and rule they mean."""

import json
import pathlib

import numpy as np
import pytest
import tokenizers as package
from tokenizers import models, normalizers, pre_tokenizers, processors

from input_pipeline.tokenizers import clip, hf, rules, wordpiece
from tests.input_pipeline.tokenizers import test_published

TEXTS = ["A cat.", "two  Cats & a T", "", "a " * 50]


@pytest.fixture
def vocabulary(tmp_path):
  """Return what writes one of the golden vocabularies into tmp_path."""

  def write(name):
    key, file, *_ = test_published.CASES[name]
    data = test_published._golden("transformers.npz", key).tobytes()
    (tmp_path / file).write_bytes(data)
    return tmp_path / file

  return write


def _write(folder: pathlib.Path, **files) -> None:
  for name, values in files.items():
    (folder / f"{name}.json").write_text(json.dumps(values))


def _words(folder: pathlib.Path, *, ends=True, **options) -> None:
  """Write a tokenizer.json of a few words, as XLM-V's marks them."""
  marks = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
  words = {word: 4 + i for i, word in enumerate(("a", "cat", ".", "Cats"))}
  made = package.Tokenizer(models.WordLevel(marks | words, unk_token="<unk>"))
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.normalizer = normalizers.NFC()
  if ends:
    made.post_processor = processors.TemplateProcessing(
      single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
  if options:
    made.enable_padding(**options)
    made.enable_truncation(5)
  made.add_special_tokens(list(marks))
  made.save(str(folder / "tokenizer.json"))


PAD = {"pad_token": "!"}
CONFIG = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


def test_json(tmp_path):
  _words(tmp_path)
  _write(tmp_path, tokenizer_config=CONFIG | {"model_max_length": 8})
  tokenizer = hf.load(tmp_path)
  assert tokenizer.rule == rules.Rule(8, pad_id=1, eos_id=2, bos_id=0)
  assert tokenizer.vocab_size == 8
  expected = [[0, 3, 5, 6, 2, 1, 1, 1], [0, 3, 7, 3, 4, 3, 2, 1]]
  ids = tokenizer(TEXTS)
  assert ids[:2].tolist() == expected
  assert ids[2].tolist() == [0, 2] + [1] * 6
  assert ids[3].tolist() == [0] + [4] * 6 + [2]
  assert tokenizer.decode(ids[0]) == "cat ."


def test_length_and_padding_within_the_json_do_not_count(tmp_path):
  _words(tmp_path, direction="left", pad_id=1, pad_token="<pad>", length=4)
  tokenizer = hf.load(tmp_path, num_tokens=8)
  # But for the side, which transformers takes from there.
  assert tokenizer(["a"]).tolist() == [[1] * 5 + [0, 4, 2]]
  assert tokenizer(TEXTS)[3].tolist() == [0] + [4] * 6 + [2]
  assert tokenizer.decode(tokenizer(["a"])[0]) == "a"
  _write(tmp_path, tokenizer_config={"padding_side": "right"})
  assert hf.load(tmp_path, num_tokens=8)(["a"])[0].tolist()[:3] == [0, 4, 2]


def test_the_json_says_which_marks(tmp_path):
  """Not the flags that older versions of transformers went by."""
  flags = {"add_bos_token": True, "add_eos_token": False}
  for ends, expected in ((True, [0, 4, 2, 1]), (False, [4, 1, 1, 1])):
    _words(tmp_path, ends=ends)
    _write(tmp_path, tokenizer_config=CONFIG | flags)
    assert hf.load(tmp_path, num_tokens=4)(["a"]).tolist() == [expected]


def test_marks_in_the_older_file(tmp_path):
  _words(tmp_path, ends=False)
  _write(tmp_path, special_tokens_map={"pad_token": {"content": "<unk>"}})
  tokenizer = hf.load(tmp_path, num_tokens=3)
  assert tokenizer.rule == rules.Rule(3, pad_id=3, eos_id=None)


@pytest.mark.parametrize(
  "files",
  [
    {"config": {"model_type": "siglip2"}},
    {"tokenizer_config": {"tokenizer_class": "Siglip2TokenizerFast"}},
  ],
)
def test_siglip2_is_lower_case(files, tmp_path):
  _words(tmp_path)
  files["tokenizer_config"] = CONFIG | files.get("tokenizer_config", {})
  files["tokenizer_config"]["padding_side"] = "right"
  _write(tmp_path, **files)
  assert hf.load(tmp_path, num_tokens=4)(["CAT"]).tolist() == [[0, 5, 2, 1]]


@pytest.mark.parametrize("class_name", ["GemmaTokenizer", "LlamaTokenizer"])
def test_side_of_a_class(class_name, tmp_path):
  _words(tmp_path)
  _write(tmp_path, tokenizer_config=CONFIG | {"tokenizer_class": class_name})
  left = hf.load(tmp_path, num_tokens=4)(["a"])[0, 0] == 1
  assert left == (class_name == "GemmaTokenizer")


@pytest.mark.parametrize(
  ("files", "expected"),
  [
    ({"config": {"model_type": "align"}}, 64),
    ({"config": {"text_config": {"max_position_embeddings": 77}}}, 77),
    ({"config": {"max_position_embeddings": 512}}, 512),
    (
      {
        "config": {"max_position_embeddings": 512},
        "sentence_bert_config": {"max_seq_length": 256},
      },
      256,
    ),
    ({"tokenizer_config": CONFIG | {"model_max_length": 40}}, 40),
  ],
)
def test_length(files, expected, tmp_path):
  _words(tmp_path)
  _write(tmp_path, **({"tokenizer_config": CONFIG} | files))
  assert hf.load(tmp_path).num_tokens == expected
  assert hf.load(tmp_path, num_tokens=9).num_tokens == 9


def _save_clip(merges: pathlib.Path, folder: pathlib.Path) -> None:
  tokenizer = clip.load_hf(merges, 77)
  made = tokenizer.codec.tokenizer
  made.post_processor = processors.RobertaProcessing(
    ("<|endoftext|>", tokenizer.eos_id),
    ("<|startoftext|>", tokenizer.rule.bos_id),
  )
  made.save(str(folder / "tokenizer.json"))


def test_clip_files_of_both_libraries(vocabulary, tmp_path):
  merges = vocabulary("clip")
  _write(tmp_path, config={"text_config": {"max_position_embeddings": 77}})
  ours = clip.load_hf(merges, 77)
  assert hf.load(tmp_path).rule == ours.rule
  np.testing.assert_array_equal(hf.load(tmp_path)(TEXTS), ours(TEXTS))
  # The same with tokenizer.json, whose own decoder leaves "</w>".
  _save_clip(merges, tmp_path)
  _write(tmp_path, tokenizer_config={"pad_token": "<|endoftext|>"})
  np.testing.assert_array_equal(hf.load(tmp_path)(TEXTS), ours(TEXTS))
  assert hf.load(tmp_path).decode(ours(TEXTS)[0]) == "a cat ."
  # open_clip's own file makes it open_clip's rule.
  _write(tmp_path, open_clip_config={"model_cfg": {"text_cfg": {}}})
  (tmp_path / "tokenizer.json").unlink()
  loaded = hf.load(tmp_path)
  assert loaded.rule == clip.load(merges, 77).rule
  text = {"model_cfg": {"text_cfg": {"context_length": 76}}}
  _write(tmp_path, open_clip_config=text)
  assert hf.load(tmp_path).num_tokens == 76  # CoCa


@pytest.mark.parametrize(
  ("options", "clean"),
  [
    ({}, "open_clip_whitespace"),
    ({"clean": "lower"}, "open_clip_lower"),
    ({"clean": "canonicalize"}, "open_clip_canonicalize"),
  ],
)
def test_open_clip_around_a_tokenizer_of_hugging_face(options, clean, tmp_path):
  _words(tmp_path)
  text = {"hf_tokenizer_name": "x", "tokenizer_kwargs": options}
  text["context_length"] = 64
  config = {"model_cfg": {"text_cfg": text}}
  _write(tmp_path, tokenizer_config=CONFIG, open_clip_config=config)
  tokenizer = hf.load(tmp_path)
  assert (tokenizer.rule.clean, tokenizer.num_tokens) == (clean, 64)
  options["strip_sep_token"] = True
  _write(tmp_path, open_clip_config=config)
  with pytest.raises(ValueError, match="only clean.*strip_sep_token"):
    hf.load(tmp_path)


def test_a_letter_for_padding(vocabulary, tmp_path):
  """It is a mark within texts too, for transformers."""
  merges = vocabulary("clip")
  _save_clip(merges, tmp_path)
  _write(tmp_path, special_tokens_map=PAD)
  by_json = hf.load(tmp_path, num_tokens=8)
  (tmp_path / "tokenizer.json").unlink()
  by_merges = hf.load(tmp_path, num_tokens=8)
  assert by_json.rule == by_merges.rule
  assert by_merges.pad_id == 0  # "!" is CLIP's first entry
  ids = by_merges(["a!?"])
  np.testing.assert_array_equal(by_json(["a!?"]), ids)
  assert ids[0, 2] == 0
  # But of the files of later versions the other one counts.
  later = {"added_tokens_decoder": {}, "pad_token": "<|endoftext|>"}
  _write(tmp_path, tokenizer_config=later)
  assert hf.load(tmp_path, num_tokens=8).pad_id == by_merges.eos_id


def test_flags_of_bert_go_before_its_json(vocabulary, tmp_path):
  file = vocabulary("wordpiece")
  wordpiece.load(file, 8).codec.tokenizer.save(str(tmp_path / "tokenizer.json"))
  config = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]"}
  _write(tmp_path, tokenizer_config=config)
  uncased = hf.load(tmp_path, num_tokens=8)(["A"])
  assert uncased.tolist() == hf.load(tmp_path, num_tokens=8)(["a"]).tolist()
  _write(tmp_path, tokenizer_config=config | {"do_lower_case": False})
  assert hf.load(tmp_path, num_tokens=8)(["A"]).tolist() != uncased.tolist()


def test_wordpiece_by_its_config(vocabulary, tmp_path):
  vocabulary("wordpiece")
  uncased = hf.load(tmp_path, num_tokens=16)
  assert uncased.decode(uncased(["A É"])[0]) == "a e"
  _write(tmp_path, tokenizer_config={"do_lower_case": False})
  cased = hf.load(tmp_path, num_tokens=16)
  assert cased(["a"]).tolist() == uncased(["a"]).tolist()
  assert cased(["A"]).tolist() != uncased(["A"]).tolist()


def test_siglip_prefers_its_own_file(vocabulary, tmp_path):
  vocabulary("siglip")
  _words(tmp_path)
  _write(tmp_path, config={"model_type": "siglip"})
  tokenizer = hf.load(tmp_path)
  assert tokenizer.rule == rules.SIGLIP
  assert tokenizer.decode(tokenizer(["A Cat!"])[0]) == "a cat"
  config = CONFIG | {
    "do_lower_case": False,
    "tokenizer_class": "SiglipTokenizer",
  }
  _write(tmp_path, tokenizer_config=config)
  assert hf.load(tmp_path).rule.clean == "siglip_cased"
  # Without it, the other file is read, cleaned in the same way.
  (tmp_path / "spiece.model").unlink()
  assert hf.load(tmp_path)(["ca!t"])[0].tolist()[:3] == [0, 5, 2]


def test_siglip_s_padding_and_added_tokens(vocabulary, tmp_path):
  vocabulary("siglip")
  config = {"tokenizer_class": "SiglipTokenizer"}
  decoder = {"1": {"content": "</s>"}, "2": {"content": "<unk>"}}
  published = config | {"added_tokens_decoder": decoder, "pad_token": "</s>"}
  _write(tmp_path, tokenizer_config=published)
  assert hf.load(tmp_path, num_tokens=64).rule == rules.SIGLIP
  other = {"pad_token": "<unk>", "padding_side": "left"}
  _write(tmp_path, tokenizer_config=config | other)
  rule = hf.load(tmp_path, num_tokens=64).rule
  assert (rule.pad_id, rule.pad_left) == (2, True)
  _write(tmp_path, tokenizer_config=config | {"pad_token": "<nope>"})
  with pytest.raises(ValueError, match="it lacks the padding '<nope>'"):
    hf.load(tmp_path, num_tokens=64)
  decoder = {"3000": {"content": "<new>", "special": True}}
  _write(tmp_path, tokenizer_config=config | {"added_tokens_decoder": decoder})
  with pytest.raises(ValueError, match="'<new>' must have the id 3000 .*lacks"):
    hf.load(tmp_path, num_tokens=64)
  _write(tmp_path, tokenizer_config={"tokenizer_class": "XLMRobertaTokenizer"})
  with pytest.raises(ValueError, match=r"spiece\.model .* read as T5's"):
    hf.load(tmp_path, num_tokens=64)


def test_ids_of_clip_s_vocab_json(vocabulary, tmp_path):
  vocabulary("clip")
  plain = hf.load(tmp_path, num_tokens=8)
  entries = clip.load_hf(tmp_path / "merges.txt", 8).codec.tokenizer.get_vocab()
  moved = {x: (i + 1) % len(entries) for x, i in entries.items()}
  _write(tmp_path, vocab=moved)
  made = hf.load(tmp_path, num_tokens=8)
  expected = (plain(["a"]) + 1) % len(entries)
  np.testing.assert_array_equal(made(["a"]), expected)
  del moved["a</w>"]
  _write(tmp_path, vocab=moved)
  with pytest.raises(ValueError, match="it lacks 'a</w>', which a merge makes"):
    hf.load(tmp_path, num_tokens=8)


def test_t5_by_its_model(vocabulary, tmp_path):
  vocabulary("siglip")
  config = {"tokenizer_class": "T5Tokenizer", "model_max_length": 32}
  _write(tmp_path, tokenizer_config=config)
  tokenizer = hf.load(tmp_path)
  assert tokenizer.rule == rules.Rule(32, pad_id=0, eos_id=1)


@pytest.mark.parametrize(
  ("files", "error", "expected"),
  [
    ({}, FileNotFoundError, "looked for tokenizer.json, spiece.model, merges"),
    (
      {"open_clip_config": {"model_cfg": {"text_cfg": {}}}},
      FileNotFoundError,
      "looked for bpe_simple_vocab_16e6.txt.gz, merges.txt, tokenizer.json",
    ),
    ({"config": []}, ValueError, "config.json must hold an object"),
  ],
)
def test_nothing_to_load(files, error, expected, tmp_path):
  _write(tmp_path, **files)
  with pytest.raises(error, match=expected):
    hf.load(tmp_path, num_tokens=8)
  with pytest.raises(FileNotFoundError, match="no folder of a model"):
    hf.load(tmp_path / "x")


def test_what_cannot_be_followed(tmp_path):
  _words(tmp_path)
  with pytest.raises(ValueError, match="does not say how long.*num_tokens"):
    hf.load(tmp_path)
  with pytest.raises(ValueError, match="names no padding.*got None"):
    hf.load(tmp_path, num_tokens=8)
  _write(tmp_path, tokenizer_config={"pad_token": "<x>"})
  with pytest.raises(ValueError, match="names no padding.*got '<x>'"):
    hf.load(tmp_path, num_tokens=8)
  _write(tmp_path, tokenizer_config=CONFIG)
  text = (tmp_path / "tokenizer.json").read_text()
  made = json.loads(text)
  single = made["post_processor"]["single"]
  made["post_processor"]["single"] = [single[0], *single]
  (tmp_path / "tokenizer.json").write_text(json.dumps(made))
  with pytest.raises(ValueError, match="2 ids before and 1 after a text"):
    hf.load(tmp_path, num_tokens=8)
  (tmp_path / "tokenizer.json").write_text(text[:-9])
  with pytest.raises(ValueError, match=r"tokenizer.json is no tokenizer"):
    hf.load(tmp_path, num_tokens=8)
  (tmp_path / "tokenizer.json").unlink()
  (tmp_path / "merges.txt").write_text("")
  _write(tmp_path, tokenizer_config={"tokenizer_class": "GPT2Tokenizer"})
  with pytest.raises(ValueError, match="read as CLIP's.*GPT2Tokenizer"):
    hf.load(tmp_path, num_tokens=8)


def test_by_its_name(tmp_path):
  _words(tmp_path)
  _write(tmp_path, tokenizer_config=CONFIG)
  for path in (tmp_path, tmp_path / "tokenizer.json"):
    tokenizer = test_published._make("hf", path, num_tokens=8)
    assert tokenizer.vocab_size == 8
  with pytest.raises(ValueError, match='"hf" needs data.vocab_size of at lea'):
    test_published._make("hf", tmp_path, num_tokens=8, vocab_size=7)


def test_the_padding_of_a_class(tmp_path):
  """Of BERT's and CLIP's, where no file names it."""
  _words(tmp_path)
  for file in ({"config": {"model_type": "siglip2"}},):
    _write(tmp_path, **file)
    assert hf.load(tmp_path, num_tokens=4)(["a"]).tolist() == [[1, 0, 4, 2]]
  _write(tmp_path, config={"model_type": "clip"}, tokenizer_config={})
  with pytest.raises(ValueError, match="names no padding.*endoftext"):
    hf.load(tmp_path, num_tokens=4)


def _added(**tokens):
  decoder = {
    str(i): {"content": x, "special": False} for x, i in tokens.items()
  }
  return CONFIG | {"added_tokens_decoder": decoder}


def test_added_tokens(tmp_path):
  _words(tmp_path)
  _write(tmp_path, tokenizer_config=_added(dog=8, cat=5))
  made = hf.load(tmp_path, num_tokens=6)
  assert made.vocab_size == 9
  assert made(["a dogcat"])[0].tolist() == [0, 4, 8, 5, 2, 1]
  _write(tmp_path, tokenizer_config=CONFIG, added_tokens={"dog": 8})
  assert hf.load(tmp_path, num_tokens=6)(["dog a"])[0].tolist() == [
    *(0, 8, 4, 2, 1, 1)
  ]
  for wrong in ({"dog": 9}, {"cat": 6}):
    _write(tmp_path, added_tokens=wrong)
    with pytest.raises(ValueError, match=r"added token '(dog|cat)' must have"):
      hf.load(tmp_path, num_tokens=6)


@pytest.mark.parametrize(
  ("fields", "match"),
  [
    ({"truncation_side": "left"}, "truncation_side must not be 'left'"),
    ({"split_special_tokens": True}, "split_special_tokens must not be True"),
  ],
)
def test_fields_that_would_give_other_ids(fields, match, tmp_path):
  _words(tmp_path)
  _write(tmp_path, tokenizer_config=CONFIG | fields)
  with pytest.raises(ValueError, match=match):
    hf.load(tmp_path, num_tokens=6)


def test_classes_that_read_a_vocabulary_otherwise(tmp_path):
  (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
  for name in ("BertJapaneseTokenizer", "PhobertTokenizer"):
    _write(tmp_path, tokenizer_config={"tokenizer_class": name})
    with pytest.raises(ValueError, match=f"tokenizer_class is {name}"):
      hf.load(tmp_path, num_tokens=6)
  _write(tmp_path, tokenizer_config={"tokenizer_class": None})
  assert hf.load(tmp_path, num_tokens=4)(["a"]).tolist() == [[2, 4, 3, 0]]
  _write(tmp_path, tokenizer_config={"do_basic_tokenize": False})
  with pytest.raises(ValueError, match="do_basic_tokenize must be true"):
    hf.load(tmp_path, num_tokens=6)


def test_sentence_transformers_lower_case(tmp_path):
  _words(tmp_path)
  _write(tmp_path, tokenizer_config=CONFIG)
  assert hf.load(tmp_path, num_tokens=4)(["Cats"])[0].tolist()[1] == 7
  _write(tmp_path, sentence_bert_config={"do_lower_case": True})
  assert hf.load(tmp_path, num_tokens=4)(["CAT"])[0].tolist()[1] == 5


def test_a_folder_of_both_libraries(tmp_path):
  _words(tmp_path)
  text = {"context_length": 6, "hf_tokenizer_name": "x"}
  text["tokenizer_kwargs"] = {"clean": "canonicalize"}
  _write(tmp_path, tokenizer_config=CONFIG)
  _write(tmp_path, open_clip_config={"model_cfg": {"text_cfg": text}})
  assert hf.load(tmp_path).rule.clean == "open_clip_canonicalize"
  made = hf.load(tmp_path, num_tokens=6, as_open_clip=False)
  assert made.rule.clean == "none"
