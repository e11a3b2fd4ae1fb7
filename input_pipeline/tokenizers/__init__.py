"""Tokenizers: captions to int32 ids, by the name in `data.tokenizer`.

A tokenizer has `vocab_size`, `__call__(texts) -> int32 [N, num_tokens]` and
`decode(ids) -> str`. All keep one rule:

- text is put in Unicode form NFKC and lower case;
- id 0 (PAD) fills up to num_tokens, id 1 (EOS) ends every text; there is no
  token for the beginning;
- a longer text is cut to num_tokens - 1 tokens and still ends in EOS, so the
  last token that is not padding is always EOS.
"""

from input_pipeline.tokenizers import bpe, bytes

Tokenizer = bpe.Bpe | bytes.Bytes

# Name -> make_tokenizer(texts, folder, languages=, vocab_size=, num_tokens=).
TOKENIZERS = {
  "bpe": bpe.make_tokenizer,
  "bytes": bytes.make_tokenizer,
}
