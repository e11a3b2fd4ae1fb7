"""The tokenizer of a model folder of Hugging Face or open_clip, by its files.

The choice follows transformers 5: its preference among files, the defaults of
its classes, and marks, padding and length in tokenizer_config.json.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, normalizers

from input_pipeline.tokenizers import (
  added_tokens,
  clip,
  from_file,
  rules,
  sentencepiece,
  tokenizer,
  vocabulary,
  wordpiece,
)
from models.pretrained import tensor_files

FILES = vocabulary.Files(
  "hf",
  ("tokenizer.json", "spiece.model", "merges.txt", "vocab.txt"),
  "one of them, with tokenizer_config.json, is in every model folder of "
  "Hugging Face; facebook/metaclip-2-worldwide-huge-quickgelu is one",
)

# Lengths of transformers' processors (AlignProcessor, SiglipProcessor and
# Siglip2Processor), shorter than those in the tokenizers' files.
_NUM_TOKENS = {"align": 64, "siglip": 64, "siglip2": 64}
# A model_max_length above this means that the length is unlimited.
_NO_LENGTH = 1_000_000
_MARKS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# Padding of classes where no file names it, and models' classes likewise.
_PADS = {
  "CLIPTokenizer": "<|endoftext|>",
  "BertTokenizer": "[PAD]",
  "GemmaTokenizer": "<pad>",
  "Siglip2Tokenizer": "<pad>",
}
_CLASSES = {
  "clip": "CLIPTokenizer",
  "bert": "BertTokenizer",
  "align": "BertTokenizer",
  "siglip2": "Siglip2Tokenizer",
}
# Classes that split texts as BERT's.
_WORDPIECE = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
# Classes that transformers pads on the left unless a file says otherwise.
_LEFT = ("GemmaTokenizer", "Siglip2Tokenizer")


@dataclasses.dataclass(frozen=True)
class _Folder:
  """The small files of a model folder; a missing one is empty."""

  path: pathlib.Path
  tokenizer: Mapping[str, Any]
  marks: Mapping[str, Any]
  model: Mapping[str, Any]
  sentence: Mapping[str, Any]
  open_clip: Mapping[str, Any]
  added: Mapping[int, tokenizers.AddedToken]

  @property
  def model_type(self) -> str:
    return str(self.model.get("model_type") or "")

  @property
  def class_name(self) -> str:
    name = str(self.tokenizer.get("tokenizer_class") or "")
    return name.removesuffix("Fast")

  def find(self, name: str) -> pathlib.Path | None:
    file = self.path / name
    return file if file.is_file() else None

  def mark(self, name: str) -> str | None:
    """Return the text of a mark such as "pad_token"."""
    files = [self.marks, self.tokenizer]
    if "added_tokens_decoder" in self.tokenizer:  # written by later versions
      files.reverse()
    mark = files[0].get(name) or files[1].get(name)
    return mark["content"] if isinstance(mark, Mapping) else mark


def load(
  folder: pathlib.Path,
  *,
  num_tokens: int | None = None,
  as_open_clip: bool | None = None,
) -> tokenizer.Tokenizer:
  """Return the tokenizer of a model folder.

  Args:
    folder: folder with the files of a published model.
    num_tokens: length of a row of ids; None takes it from the folder's files.
    as_open_clip: whether open_clip_config.json says the rule, not the files of
      transformers; None says so wherever it is there.

  Raises:
    FileNotFoundError: no tokenizer; the message lists the files searched.
    ValueError: the files define no padding or length, or are not supported.
  """
  files = _read(pathlib.Path(folder))
  num_tokens = num_tokens or _num_tokens(files)
  if files.open_clip and as_open_clip is not False:
    return _load_open_clip(files, num_tokens)
  return _load_transformers(files, num_tokens)


def _load_open_clip(files: _Folder, num_tokens: int) -> tokenizer.Tokenizer:
  text = _text_config(files)
  if "hf_tokenizer_name" not in text:
    for name in clip.FILES.names:
      if file := files.find(name):
        return clip.load(file, num_tokens)
    raise _not_found(files.path, clip.FILES.names)
  options = text.get("tokenizer_kwargs", {})
  unknown = {name for name in options if name != "clean"}
  clean = f"open_clip_{options.get('clean', 'whitespace')}"
  if unknown:
    raise ValueError(
      f"{files.path}/open_clip_config.json: of tokenizer_kwargs only clean is "
      f"followed; got {sorted(unknown)} too"
    )
  made = _load_transformers(files, num_tokens)
  return dataclasses.replace(
    made, rule=dataclasses.replace(made.rule, clean=clean)
  )


def _load_transformers(files: _Folder, num_tokens: int) -> tokenizer.Tokenizer:
  fixed = {"split_special_tokens": True, "truncation_side": "left"}
  for field, value in fixed.items():
    if files.tokenizer.get(field) == value:
      raise ValueError(
        f"{files.path}/tokenizer_config.json: {field} must not be {value!r},"
        " which is not followed here"
      )
  made = added_tokens.add(_load_vocabulary(files, num_tokens), files.added)
  if files.sentence.get("do_lower_case") and made.rule.clean == "none":
    rule = dataclasses.replace(made.rule, clean="lower")
    made = dataclasses.replace(made, rule=rule)
  return made


def _load_vocabulary(files: _Folder, num_tokens: int) -> tokenizer.Tokenizer:
  siglip = files.class_name == "SiglipTokenizer" or (
    not files.class_name and files.model_type == "siglip"
  )
  lower_case = files.tokenizer.get("do_lower_case", True)
  clean = "siglip" if lower_case else "siglip_cased"
  if siglip and (file := files.find("spiece.model")):
    made = sentencepiece.load(
      file, num_tokens, "siglip", pad=files.mark("pad_token")
    )
    is_left = files.tokenizer.get("padding_side") == "left"
    rule = dataclasses.replace(made.rule, clean=clean, pad_left=is_left)
    return dataclasses.replace(made, rule=rule)
  if file := files.find("tokenizer.json"):
    return _load_json(
      files, file, num_tokens, clean=clean if siglip else "none"
    )
  if file := files.find("merges.txt"):
    _check_class(files, file, "CLIP's", "CLIPTokenizer")
    return clip.load_hf(file, num_tokens, pad=files.mark("pad_token"))
  if file := files.find("vocab.txt"):
    _check_class(files, file, "BERT's", *_WORDPIECE)
    if not files.tokenizer.get("do_basic_tokenize", True):
      raise ValueError(
        f"{files.path}/tokenizer_config.json: do_basic_tokenize must be true"
      )
    return wordpiece.load(
      file,
      num_tokens,
      lower_case=lower_case,
      strip_accents=files.tokenizer.get("strip_accents"),
      split_chinese=files.tokenizer.get("tokenize_chinese_chars", True),
    )
  if file := files.find("spiece.model"):
    _check_class(files, file, "T5's", "T5Tokenizer")
    return sentencepiece.load(file, num_tokens, pad=files.mark("pad_token"))
  raise _not_found(files.path, FILES.names)


def _check_class(
  files: _Folder, file: pathlib.Path, whose: str, *classes: str
) -> None:
  """Raise ValueError for a class that reads a vocabulary in another way."""
  if files.class_name not in ("", *classes):
    raise ValueError(
      f"{file} without tokenizer.json is read as {whose}, but tokenizer_class"
      f" is {files.class_name}; expected {' or '.join(classes)}"
    )


def _load_json(
  files: _Folder, file: pathlib.Path, num_tokens: int, *, clean: str
) -> tokenizer.Tokenizer:
  try:
    compiled = tokenizers.Tokenizer.from_file(str(file))
  except Exception as error:  # the package raises no narrower class
    raise ValueError(
      f"{file} is no tokenizer ({error}){tensor_files.told(file)}"
    ) from error
  if files.model_type == "siglip2" or files.class_name == "Siglip2Tokenizer":
    steps = [normalizers.Lowercase(), compiled.normalizer]
    compiled.normalizer = normalizers.Sequence([s for s in steps if s])
  if files.class_name == "BertTokenizer":
    # The class follows its flags and ignores the normalizer of tokenizer.json.
    compiled.normalizer = normalizers.BertNormalizer(
      clean_text=True,
      handle_chinese_chars=files.tokenizer.get("tokenize_chinese_chars", True),
      strip_accents=files.tokenizer.get("strip_accents"),
      lowercase=files.tokenizer.get("do_lower_case", True),
    )
  if suffix := getattr(compiled.model, "end_of_word_suffix", None):
    steps = [
      compiled.decoder,
      decoders.Replace(suffix, " "),
      decoders.Strip(content=" ", left=0, right=1),
    ]
    compiled.decoder = decoders.Sequence(steps)
  padding = compiled.padding or {}
  side = files.tokenizer.get("padding_side") or padding.get("direction")
  kind = files.class_name or _CLASSES.get(files.model_type, "")
  side = side or ("left" if kind in _LEFT else "right")
  pad = files.mark("pad_token") or padding.get("pad_token") or _PADS.get(kind)
  pad_id = _add_marks(files, compiled).get(pad or "")
  if pad_id is None:
    raise ValueError(
      f"{files.path} names no padding: expected pad_token in "
      "tokenizer_config.json or special_tokens_map.json to be an entry of "
      f"tokenizer.json; got {pad!r}"
    )
  made = tokenizer.Compiled.make(compiled)
  bos_id, eos_id = _ends(files, compiled)
  return tokenizer.Tokenizer(
    made,
    rules.Rule(
      num_tokens,
      pad_id=pad_id,
      bos_id=bos_id,
      eos_id=eos_id,
      clean=clean,
      pad_left=side.lower() == "left",
    ),
  )


def _add_marks(
  files: _Folder, compiled: tokenizers.Tokenizer
) -> dict[str, int]:
  """Return all ids, after making the files' marks special within texts too.

  A CLIP folder that pads with "!" then has a mark for every "!" in a text.
  """
  ids = compiled.get_vocab(with_added_tokens=True)
  known = {
    token.content for token in compiled.get_added_tokens_decoder().values()
  }
  for name in _MARKS:
    mark = files.mark(f"{name}_token")
    if mark in ids and mark not in known:
      compiled.add_special_tokens([mark])
  return ids


def _ends(
  files: _Folder, compiled: tokenizers.Tokenizer
) -> tuple[int | None, int | None]:
  """Return the ids that the post-processor puts before and after a text.

  As in transformers, add_bos_token and add_eos_token of tokenizer_config.json
  are ignored beside a tokenizer.json.
  """
  encoding = compiled.encode("a")
  positions = [
    i for i, mark in enumerate(encoding.special_tokens_mask) if not mark
  ]
  if not positions:
    raise ValueError(f'{files.path}: the text "a" has no token of its own')
  before, after = (
    encoding.ids[: positions[0]],
    encoding.ids[positions[-1] + 1 :],
  )
  if max(len(before), len(after)) > 1:
    raise ValueError(
      f"{files.path} puts {len(before)} ids before and {len(after)} after a "
      "text; at most one of each is supported"
    )
  return (before or [None])[0], (after or [None])[0]


def _num_tokens(files: _Folder) -> int:
  lengths = [
    _text_config(files).get("context_length", 77) if files.open_clip else None,
    _NUM_TOKENS.get(files.model_type),
    files.sentence.get("max_seq_length"),
    files.model.get("text_config", files.model).get("max_position_embeddings"),
    files.tokenizer.get("model_max_length"),
  ]
  known = [length for length in lengths if length and length < _NO_LENGTH]
  if not known:
    raise ValueError(
      f"{files.path} does not say how long a text may be: expected "
      "model_max_length in tokenizer_config.json or max_position_embeddings in "
      "config.json; give num_tokens"
    )
  return int(min(known))


def _text_config(files: _Folder) -> Mapping[str, Any]:
  return files.open_clip.get("model_cfg", {}).get("text_cfg", {})


def _read(folder: pathlib.Path) -> _Folder:
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder} is no folder of a model")

  def read(name: str) -> Mapping[str, Any]:
    file = folder / name
    if not file.is_file():
      return {}
    try:
      values = json.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
      raise ValueError(
        f"{file} is no intact JSON ({error}){tensor_files.told(file)}"
      ) from error
    if not isinstance(values, Mapping):
      raise ValueError(f"{file} must hold an object; got {values!r:.80}")
    return values

  return _Folder(
    folder,
    tokenizer=read("tokenizer_config.json"),
    marks=read("special_tokens_map.json"),
    model=read("config.json"),
    sentence=read("sentence_bert_config.json"),
    open_clip=read("open_clip_config.json"),
    added=added_tokens.read(
      read("tokenizer_config.json"), read("added_tokens.json")
    ),
  )


def _not_found(folder: pathlib.Path, names: Sequence[str]) -> FileNotFoundError:
  return FileNotFoundError(
    f"no tokenizer in {folder}: looked for {', '.join(names)}"
  )


def _load_beside(file: pathlib.Path, num_tokens: int) -> tokenizer.Tokenizer:
  return load(file.parent, num_tokens=num_tokens)


make_tokenizer = from_file.maker(_load_beside, FILES)
