"""Write what open_clip's and transformers' tokenizers make of texts.py.

  python -m tests.input_pipeline.tokenizers.golden.make transformers
  python -m tests.input_pipeline.tokenizers.golden.make open_clip

In this order, each in an environment that has the package (transformers 5.23.0
with sentencepiece 0.2.3; open_clip_torch 3.3.0). Nothing of this project runs
here. The published vocabularies are not ours to copy, so small ones of the same
kinds are trained, and kept beside the ids. tests/parity compares the published
ones.
"""

import io
import pathlib
import sys
import tempfile

import numpy as np

from tests.input_pipeline.tokenizers import texts

FOLDER = pathlib.Path(__file__).parent
TEXTS = [*texts.TEXTS, *texts.MARKS]
CORPUS = [text for text in texts.TEXTS if text.strip()] * 20


def _save(name: str, **arrays: np.ndarray | bytes) -> None:
  arrays = {
    key: np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    for key, value in arrays.items()
  }
  np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


def _merges() -> bytes:
  from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

  tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "isolated"),
      pre_tokenizers.Split(Regex(r"\s+"), "removed"),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  trainer = trainers.BpeTrainer(
    vocab_size=1000,
    end_of_word_suffix="</w>",
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  lower = [text.lower() for text in CORPUS]
  tokenizer.train_from_iterator(lower, trainer)
  with tempfile.TemporaryDirectory() as folder:
    tokenizer.model.save(folder)
    return (pathlib.Path(folder) / "merges.txt").read_bytes()


def _open_clip() -> None:
  import gzip

  from open_clip import tokenizer

  merges = np.load(FOLDER / "transformers.npz")["merges"].tobytes()
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "merges.txt.gz"
    # It takes an empty last line for one more merge.
    path.write_bytes(gzip.compress(merges.rstrip()))
    original = tokenizer.SimpleTokenizer(str(path))
  ids = original(TEXTS, context_length=77).numpy().astype(np.int32)
  _save("open_clip", ids=ids)


def _transformers() -> None:
  import transformers

  def ids(original, num_tokens):
    rows = original(
      TEXTS, padding="max_length", truncation=True, max_length=num_tokens
    )
    return np.asarray(rows["input_ids"], np.int32)

  merges = _merges()
  lines = [line.split() for line in merges.decode().split("\n")[1:] if line]
  letters = [chr(byte) for byte in range(0x21, 0x7F)]
  letters += [chr(byte) for byte in range(0xA1, 0x100) if byte != 0xAD]
  letters += [chr(0x100 + i) for i in range(256 - len(letters))]
  entries = [*letters, *(f"{letter}</w>" for letter in letters)]
  entries += ["".join(line) for line in lines]
  entries += ["<|startoftext|>", "<|endoftext|>"]
  clip = transformers.CLIPTokenizer(
    vocab={entry: i for i, entry in enumerate(entries)},
    merges=[tuple(line) for line in lines],
  )

  pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  words = {word for text in TEXTS for word in text.lower().split()}
  chars = sorted({char for word in words for char in word})
  pieces += [
    *chars,
    *(f"##{char}" for char in chars[::2]),
    "photo",
    "of",
    "##at",
  ]
  vocabulary = "".join(f"{piece}\n" for piece in dict.fromkeys(pieces))

  t5 = _sentencepiece(model_type="unigram", vocab_size=700, unk_id=2, bos_id=-1)
  gemma = _sentencepiece(
    model_type="bpe",
    vocab_size=900,
    unk_id=3,
    bos_id=2,
    pad_piece="<pad>",
    bos_piece="<bos>",
    eos_piece="<eos>",
    byte_fallback=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    add_dummy_prefix=False,
    split_digits=True,
    user_defined_symbols=["<mask>"],
  )
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "vocab.txt").write_text(vocabulary, "utf-8")
    bert = transformers.BertTokenizer(str(folder / "vocab.txt"))
    (folder / "spiece.model").write_bytes(t5)
    siglip = transformers.SiglipTokenizer(str(folder / "spiece.model"))
    siglip_ids = ids(siglip, 64)
    (folder / "tokenizer.model").write_bytes(gemma)
    for file in ("vocab.txt", "spiece.model"):
      (folder / file).unlink()
    siglip2 = transformers.Siglip2Tokenizer.from_pretrained(
      folder, add_bos_token=False, add_eos_token=True, padding_side="right"
    )
  _save(
    "transformers",
    merges=merges,
    clip_ids=ids(clip, 77),
    wordpiece=vocabulary.encode(),
    wordpiece_ids=ids(bert, 64),
    siglip=t5,
    siglip_ids=siglip_ids,
    siglip2=gemma,
    siglip2_ids=ids(siglip2, 64),
  )


def _sentencepiece(**options) -> bytes:
  import sentencepiece

  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(CORPUS),
    model_writer=model,
    pad_id=0,
    eos_id=1,
    # Some characters stay unknown.
    character_coverage=0.99,
    hard_vocab_limit=False,
    minloglevel=2,
    num_threads=1,
    **options,
  )
  return model.getvalue()


if __name__ == "__main__":
  {"open_clip": _open_clip, "transformers": _transformers}[sys.argv[1]]()
