"""Check that the text tower uses the ids of the tokenizer's marks."""

from input_pipeline import pipeline, tokenizers
from input_pipeline.tokenizers import rules
from training import config as config_lib


def check(config: config_lib.Config) -> None:
  """Check the tokenizer's file and ids; no data is prepared for it.

  A run would also train with wrong ids, but pool the wrong token, or attend to
  padding.

  Raises:
    FileNotFoundError, ValueError: the user's vocabulary cannot be used, or the
      tower has another id.
  """
  if config.data.tokenizer in tokenizers.WITHOUT_FILE:
    writes = rules.run(config.data.num_tokens)  # known before it is trained
  else:
    writes = pipeline.make_tokenizer(config.data)
  text = config.model.text
  assert text is not None  # of a run, training/config.py
  looked_for = []
  if text.pool == "eot":
    looked_for.append(("eot_id", text.eot_id, writes.eos_id, "ends"))
  if text.tower == "bert" or text.mask_padding:
    looked_for.append(("pad_id", text.pad_id, writes.pad_id, "fills up"))
  for field, got, expected, does in looked_for:
    if got != expected:
      raise ValueError(
        f"model.text.{field} must be {expected}, which {does} captions of"
        f" data.tokenizer={config.data.tokenizer!r}; got {got}"
      )
