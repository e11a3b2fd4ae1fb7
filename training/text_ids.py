"""Whether the text tower knows the marks that the tokenizer writes."""

from input_pipeline import pipeline, tokenizers
from training import config as config_lib


def check(config: config_lib.Config, tokenizer: tokenizers.Tokenizer) -> None:
  """Raise ValueError where an id that the tower looks for is another one.

  It would train all the same: pooled at the wrong token, or with padding that
  is looked at.
  """
  text = config.model.text
  assert text is not None  # of a run, training/config.py
  looked_for = []
  if text.pool == "eot":
    looked_for.append(("eot_id", text.eot_id, tokenizer.eos_id, "ends"))
  if text.tower == "bert" or text.mask_padding:
    looked_for.append(("pad_id", text.pad_id, tokenizer.pad_id, "fills up"))
  for field, got, expected, does in looked_for:
    if got != expected:
      raise ValueError(
        f"model.text.{field} must be {expected}, which {does} captions of"
        f" data.tokenizer={config.data.tokenizer!r}; got {got}"
      )


def check_file(config: config_lib.Config) -> None:
  """Check a tokenizer that reads the user's file, before data are prepared.

  Raises:
    FileNotFoundError, ValueError: of the file, or as `check`.
  """
  if config.data.tokenizer not in tokenizers.WITHOUT_FILE:
    check(config, pipeline.make_tokenizer(config.data))
