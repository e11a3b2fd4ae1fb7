"""Files that open_clip reads beside weights: towers, pixels, tokenizer."""

import json
import pathlib
from typing import Any

from inference import model as model_lib
from input_pipeline.images import image_protocols, naflex
from input_pipeline.tokenizers import rules, tokenizer
from models.pretrained.parts import timm_trunk

_CONFIG = "open_clip_config.json"
# Fields of "text_cfg". Without the first, open_clip takes CLIP's vocabulary.
_TOKENIZER = ("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs")
_CLIP_VOCAB_SIZE = 49_408


def files(
  config: dict[str, Any], model: model_lib.Model, folder: pathlib.Path
) -> dict[str, Any]:
  """Return the content of JSON files by their names.

  Args:
    config: description by models.pretrained.families.open_clip.
    model: model to be written.
    folder: path that the files will have.

  Raises:
    ValueError: open_clip cannot prepare images as the model sees them.
  """
  content = timm_trunk.place(config, folder)
  if model.config.image is not None:
    protocol = model.make_image_protocol()
    assert not isinstance(protocol, naflex.Protocol)  # no family writes it
    content["preprocess_cfg"] = image_protocols.to_open_clip(protocol)
  if model.config.text is not None:
    model_cfg = content["model_cfg"]
    text_cfg = model_cfg["text_cfg"] | _tokenizer_fields(model, folder.name)
    content["model_cfg"] = model_cfg | {"text_cfg": text_cfg}
  written = {}
  if timm_trunk.KEY in config:
    written[f"{timm_trunk.FOLDER}/config.json"] = config[timm_trunk.KEY]
  # Last: who finds it finds the rest.
  return written | {_CONFIG: content}


def _tokenizer_fields(model: model_lib.Model, name: str) -> dict[str, Any]:
  """Return the fields of "text_cfg" by which open_clip finds the tokenizer.

  open_clip reads a tokenizer's files from the local folder if there is a name,
  whatever it is. If they are missing, it then fails; without a name, it would
  silently take CLIP's.
  """
  original = model.folder / _CONFIG
  if model.family != model_lib.RUN and original.is_file():
    text_cfg = json.loads(original.read_text("utf-8"))["model_cfg"]["text_cfg"]
    return {x: text_cfg[x] for x in _TOKENIZER if x in text_cfg}
  try:
    made = model.make_tokenizer()
  except (ValueError, OSError):
    made = None
  if _is_clip(made, model):
    return {}
  clean = _cleaning(made)
  options = {"tokenizer_kwargs": {"clean": clean}} if clean else {}
  return {"hf_tokenizer_name": name, **options}


def _is_clip(made: tokenizer.Tokenizer | None, model: model_lib.Model) -> bool:
  if made is None:
    return getattr(model.config.text, "vocab_size", 0) == _CLIP_VOCAB_SIZE
  marks = (rules.CLIP.bos_id, rules.CLIP.eos_id)
  return (made.rule.bos_id, made.rule.eos_id) == marks


def _cleaning(made: tokenizer.Tokenizer | None) -> str:
  """Return the nearest of open_clip's rules; "" for its default."""
  if made is None:
    return ""
  if made.rule.clean == "siglip":
    return "canonicalize"
  capital, small = made(["A", "a"])
  return "lower" if (capital == small).all() else ""
