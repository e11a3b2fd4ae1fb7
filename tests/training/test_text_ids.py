"""A text tower that looks for other ids than the tokenizer writes."""

import pytest

from tests import runs
from training import text_ids, train


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model.text.pool": "eot"}, None),
    ({"model.text.pool": "eot", "model.text.eot_id": 2}, r"eot_id must be 1, "),
    ({"model.text.eot_id": 2}, None),  # pooled otherwise
    ({"model.text.pad_id": 3}, r"pad_id must be 0, .*'bytes'; got 3"),
    ({"model.text.pad_id": 3, "model.text.mask_padding": False}, None),
  ],
)
def test_ids(changes, words, tmp_path):
  cache = tmp_path / "cache"
  config = runs.make_config({"data.cache_dir": str(cache), **changes})
  if words is None:
    text_ids.check(config)
  else:
    with pytest.raises(ValueError, match=words):
      text_ids.check(config)
  assert not cache.exists()


def test_a_file_that_is_not_there_costs_nothing(tmp_path):
  cache = tmp_path / "cache"
  config = runs.make_config(
    {
      "data.cache_dir": str(cache),
      "data.tokenizer": "clip",
      "data.vocab_size": 49_408,
    }
  )
  with pytest.raises(FileNotFoundError, match="tokenizer_path"):
    train.run(config, tmp_path / "run")
  assert not cache.exists()
  assert not (tmp_path / "run").exists()
