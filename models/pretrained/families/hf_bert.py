"""BERT and sentence-transformers' BERT, as transformers stores them: text only.

Pooling follows the folder's 1_Pooling (sentence-transformers); without it, the
[CLS] token's last hidden state is pooled. Heads of other tasks are left out,
and so is BERT's pooler unless it is the pooling.
"""

import types
from collections.abc import Mapping
from typing import Any

from models import bert, dual_encoder
from models.pretrained import mapping, opening, positions
from models.pretrained.parts import fresh, hf_json, torch_links
from runtime import notices

IGNORED = (
  r".*position_ids",
  r"(bert\.)?pooler\..*",
  r"cls\..*",  # heads of masked language modelling and next sentences
)
# Defaults for config.json: transformers 5.23, configuration_bert.py;
# position_embedding_type: older versions.
_DEFAULTS = types.MappingProxyType(
  {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "is_decoder": False,
    "position_embedding_type": "absolute",
  }
)
# Pooling modes of sentence-transformers, and their names in bert.POOLS.
_POOLS = {
  "cls": "cls",
  "cls_token": "cls",
  "mean": "mean",
  "mean_tokens": "mean",
}
_BLOCK = {
  "attn/query": "attention.self.query",
  "attn/key": "attention.self.key",
  "attn/value": "attention.self.value",
  "attn/out": "attention.output.dense",
  "attn_norm": "attention.output.LayerNorm",
  "mlp/up": "intermediate.dense",
  "mlp/down": "output.dense",
  "mlp_norm": "output.LayerNorm",
}


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the model is of this family."""
  return files.config.get("model_type") == "bert"


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model's config: a text tower without a projection.

  Raises:
    ValueError: a setting has a value that the tower here cannot express.
  """
  text = read_text(files.config, "config.json", pool=_pool(files))
  return fresh.make_model(embed_dim=text.width, text=text)


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file.

  BERT has no projection: a model that starts from it keeps its own.
  """
  entries = [*text_links(model.text)]
  if model.text is not None and model.text.projection:
    entries += torch_links.dense(
      "txt/projection",
      "text_projection",
      use_bias=model.text.projection_bias,
      optional=True,
    )
  # Files of models for other tasks have BERT below "bert.", and files of the
  # first BERTs have TensorFlow's names of norms.
  return mapping.spelled(
    entries, _below, _in_tensorflow, lambda name: _below(_in_tensorflow(name))
  )


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the config.json of a model with a text tower only.

  Raises:
    ValueError: the model is not a BERT.
  """
  hf_json.refuse_others("model.image", model.image, None)
  hf_json.refuse_others(
    "model.text", model.text, {"tower": "bert", "projection": False}
  )
  assert isinstance(model.text, bert.BertConfig)
  return {
    "architectures": ["BertModel"],
    "model_type": "bert",
    **written_text(model.text),
  }


def read_text(
  settings: Mapping[str, Any],
  section: str,
  *,
  pool: str,
  projection: bool = False,
  projection_bias: bool = False,
) -> bert.BertConfig:
  """Return the tower of a BERT's settings; `section` names them in messages."""
  config: dict[str, Any] = {**_DEFAULTS, **settings}
  if config["pad_token_id"] is None:
    config["pad_token_id"] = 0
  hf_json.expect(config, section, "is_decoder", False)
  hf_json.expect(config, section, "position_embedding_type", "absolute")

  def size(field: str) -> int:
    return hf_json.integer(config, section, field)

  return bert.BertConfig(
    tower="bert",
    vocab_size=size("vocab_size"),
    num_tokens=size("max_position_embeddings"),
    num_types=size("type_vocab_size"),
    **hf_json.read_layers(config, section),
    pool=pool,
    pad_id=config["pad_token_id"],
    projection=projection,
    projection_bias=projection_bias,
    dropout=0.0,
  )


def text_links(
  text: dual_encoder.TextConfig | None, prefix: str = ""
) -> tuple[mapping.Link, ...]:
  """Return the links of a BERT whose names in the file begin with `prefix`."""
  assert isinstance(text, bert.BertConfig)
  embeddings = f"{prefix}embeddings"
  entries = [
    mapping.link("txt/token_embedding", f"{embeddings}.word_embeddings.weight"),
    mapping.link(
      "txt/position",
      f"{embeddings}.position_embeddings.weight",
      resize=positions.resize_length,
    ),
    mapping.link(
      "txt/type_embedding", f"{embeddings}.token_type_embeddings.weight"
    ),
    *torch_links.norm("txt/embedding_norm", f"{embeddings}.LayerNorm"),
    *torch_links.block(
      "txt/blocks", f"{prefix}encoder.layer.{mapping.LAYER}", _BLOCK
    ),
  ]
  if text.pool == "pooler":
    entries += torch_links.dense("txt/pooler", f"{prefix}pooler.dense")
  return tuple(entries)


def written_text(text: bert.BertConfig) -> dict[str, Any]:
  """Return the config of the tower."""
  return {
    "vocab_size": text.vocab_size,
    "max_position_embeddings": text.num_tokens,
    "type_vocab_size": text.num_types,
    "pad_token_id": text.pad_id,
    **hf_json.written_layers(text),
  }


def _below(name: str) -> str:
  return f"bert.{name}"


def _in_tensorflow(name: str) -> str:
  name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
  return name.replace("LayerNorm.bias", "LayerNorm.beta")


def _pool(files: opening.PublishedFiles) -> str:
  for module in hf_json.beside(files, "modules.json"):
    kind = module["type"].rsplit(".", 1)[-1]
    # Normalize changes nothing: embeddings here always have L2 norm 1.
    if kind not in ("Transformer", "Pooling", "Normalize"):
      raise ValueError(
        "modules.json: modules must be Transformer, Pooling and Normalize; got"
        f" {kind}"
      )
  config = hf_json.beside(files, "1_Pooling/config.json")
  if not config:
    notices.say_once(
      f"{files.folder} has no 1_Pooling/config.json: assumed that the first"
      " token is a text's embedding, as in BERT"
    )
    return "cls"
  modes = [
    name.removeprefix("pooling_mode_")
    for name, value in config.items()
    if name.startswith("pooling_mode_") and value is True
  ]
  # Newer versions of sentence-transformers write a name or a list of them.
  names = config.get("pooling_mode", modes)
  modes = names if isinstance(names, list) else [names]
  if len(modes) != 1 or modes[0] not in _POOLS:
    raise ValueError(
      "1_Pooling/config.json: one pooling mode is expected, of"
      f" {', '.join(_POOLS)}; got {', '.join(map(str, modes)) or 'none'}"
    )
  return _POOLS[modes[0]]
