"""Tokenizers: captions to int32 ids, by the name in `data.tokenizer`.

A tokenizer (tokenizer.py) is a vocabulary's codec under a rule (rules.py): it
has `vocab_size`, `num_tokens`, `pad_id`, `eos_id` (None for a rule without an
end of text), `rule`, `__call__(texts) -> int32 [N, num_tokens]` and
`decode(ids) -> str`.

"bpe" (trained on the captions of a run) and "bytes" convert text to Unicode
form NFKC and lower case; id 0 pads to num_tokens, id 1 ends every text, a
longer text is cut and still ends in 1. The others are published: their
vocabulary is a file that the user names by `data.tokenizer_path`, and their
rules are the constants of rules.py.
"""

from input_pipeline.tokenizers import (
  bpe,
  bytes,
  clip,
  hf,
  sentencepiece,
  tokenizer,
  wordpiece,
)

Tokenizer = tokenizer.Tokenizer

# Name -> make_tokenizer(texts, folder, languages=, vocab_size=, num_tokens=,
# path=).
TOKENIZERS = {
  "bpe": bpe.make_tokenizer,
  "bytes": bytes.make_tokenizer,
  "clip": clip.make_tokenizer,
  **wordpiece.MAKERS,
  **sentencepiece.MAKERS,
  "hf": hf.make_tokenizer,
}

# Tokenizers that need no data.tokenizer_path.
WITHOUT_FILE = ("bpe", "bytes")
# Tokenizers whose vocabulary is trained on the captions of a run.
TRAINED = ("bpe",)

# load(folder, num_tokens=None): tokenizer of a model folder, by its files.
load = hf.load
