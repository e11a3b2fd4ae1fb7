"""Our tokenizers as files of transformers: the same ids.

tests/parity/test_export.py reads them with transformers itself.
"""

import json

import numpy as np
import pytest
import tokenizers

from input_pipeline.tokenizers import bpe, hf, hf_files
from input_pipeline.tokenizers import bytes as bytes_lib

TRAINED_ON = ["red car", "woman firefighter", "Straße", "bright red cars"] * 3
TEXTS = [
  "Red cars",
  "",
  "   ",
  "a woman, a firefighter and a very long sentence",
  "STRASSE ﬁne ½ ＡＢ\u00a0\u200b",
  "猫 👩‍🚒 สวัสดี",
  "tab\tnew\nline",
  "\x00\x7f\xad",
]


@pytest.fixture(params=["bpe", "bytes"])
def made(request, tmp_path):
  """Return a tokenizer of 9 tokens a text."""
  make = {"bpe": bpe.make_tokenizer, "bytes": bytes_lib.make_tokenizer}
  return make[request.param](
    lambda: TRAINED_ON,
    tmp_path / "cache",
    languages=("en",),
    vocab_size=300,
    num_tokens=9,
  )


def test_the_same_ids(made, tmp_path):
  hf_files.write(made, tmp_path)
  whole = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  expected = made(TEXTS)
  got = [encoding.ids for encoding in whole.encode_batch(TEXTS)]
  np.testing.assert_array_equal(got, expected)
  # And by our own reader of such folders, at another length too.
  np.testing.assert_array_equal(hf.load(tmp_path)(TEXTS), expected)
  longer = hf.load(tmp_path, num_tokens=40)(["red car"])
  assert list(longer[0]).index(1) == np.count_nonzero(longer) - 1
  for ids in expected:
    assert whole.decode(ids).strip() == made.decode(ids).strip()


def test_what_transformers_is_told(made, tmp_path):
  hf_files.write(made, tmp_path)
  config = json.loads((tmp_path / "tokenizer_config.json").read_text())
  assert config["model_max_length"] == 9
  assert (config["pad_token"], config["eos_token"]) == ("<pad>", "<eos>")
  assert config["padding_side"] == "right"
  assert "bos_token" not in config
