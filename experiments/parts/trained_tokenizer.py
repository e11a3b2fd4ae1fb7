"""Tokenizer trained on an experiment's captions, the same for all its arms."""

import json
import pathlib
from collections.abc import Sequence

import tokenizers

from input_pipeline.tokenizers import bpe
from runtime.storage import whole_files


def write(
  folder: pathlib.Path, captions: Sequence[str], vocab_size: int
) -> None:
  """Train byte-pair encoding; write files for data.tokenizer="hf".

  Args:
    folder: folder to write, which exists.
    captions: captions that it is trained on.
    vocab_size: number of tokens.
  """
  trained = bpe.train(captions, vocab_size)
  trained.post_processor = tokenizers.processors.TemplateProcessing(
    single="$A <eos>", special_tokens=[("<eos>", 1)]
  )
  facts = {"pad_token": "<pad>", "eos_token": "<eos>"}
  whole_files.write(folder / "tokenizer.json", trained.to_str().encode())
  whole_files.write(
    folder / "tokenizer_config.json", json.dumps(facts).encode()
  )
