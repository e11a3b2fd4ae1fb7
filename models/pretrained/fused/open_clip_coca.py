"""open_clip's CoCa in whole: its two towers and its captioner.

Towers are those of families/open_clip.py. Tensors of the captioner begin with
"text_decoder."; its fields are "multimodal_cfg" of open_clip_config.json. As in
open_clip 3.3.0, its vocabulary is the text tower's, its MLPs are four times as
wide as its tokens, and its activation is QuickGELU or GELU by "quick_gelu".
"""

import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from models import dual_encoder, text_transformer, vit
from models.decoding import captioner as captioner_lib
from models.pretrained import forms, loading, mapping, opening
from models.pretrained.families import open_clip
from models.pretrained.parts import (
  clip_transformers,
  hf_json,
  openai_names,
  torch_links,
)
from runtime import sections

_THEIRS = "text_decoder."
_FIELDS = "multimodal_cfg"
_MLP_RATIO = 4
# Fields of "multimodal_cfg" (MultimodalCfg in open_clip) that are read, with
# their defaults; those that nothing reads there; one that is no part of the
# captioner here.
_READ: Mapping[str, int] = types.MappingProxyType(
  {"width": 512, "heads": 8, "layers": 12, "context_length": 77}
)
_UNREAD = (
  "attn_pooler_heads",
  "dim_head",
  "mlp_ratio",
  "n_queries",
  "vocab_size",
)
_SCALE = "ls_init_value"
# Modules of a layer except attention: name here, name in the file.
_CROSS: Mapping[str, str] = types.MappingProxyType(
  {
    "attn_norm": "ln_1",
    "key_norm": "ln_1_kv",
    "mlp_norm": "ln_2",
    "mlp/up": "mlp.c_fc",
    "mlp/down": "mlp.c_proj",
  }
)


class Coca(NamedTuple):
  """Model as it was read.

  Attributes:
    model: config of the towers.
    captioner: config of the captioner.
    params: parameters of the towers, nested, float32.
    captioner_params: those of the captioner.
  """

  model: dual_encoder.ModelConfig
  captioner: captioner_lib.CaptionerConfig
  params: dict[str, Any]
  captioner_params: dict[str, Any]


def read(files: opening.PublishedFiles) -> Coca:
  """Return a CoCa; each tensor of the file is accounted for.

  Args:
    files: result of opening.open_model. Without open_clip_config.json, sizes
      are those of the tensors, and heads of the captioner the text tower's.

  Raises:
    ValueError: the file is of another model, a field is not supported, or
      tensors do not fit (mapping.MappingError).
  """
  with opening.reading(files.path):
    if not open_clip.recognises(files) or not has_captioner(files.tensors):
      raise ValueError(
        f"expected open_clip's CoCa, whose captioner's tensors begin with"
        f" {_THEIRS}; got other tensors"
      )
  model = loading.read_config(open_clip, files)
  with opening.reading(files.path):
    captioner = read_config(files, model)
  params = loading.read_params(open_clip, model, files)
  with opening.reading(files.path):
    made = read_params(files, shapes_of(model, captioner))
  return Coca(model, captioner, params, mapping.nested(made))


def read_params(
  files: opening.PublishedFiles, shapes: Any
) -> dict[str, np.ndarray]:
  """Return a captioner's parameters by path, float32.

  Args:
    files: file whose other tensors are the towers'.
    shapes: tree of a captioner's shapes, or of a part of them.

  Raises:
    MappingError: a tensor of the captioner does not fit.
  """
  tensors = {
    name: files.tensors[name]
    for name in files.tensors
    if name.startswith(_THEIRS)
  }
  return mapping.load(
    links(), tensors, shapes, ignored=(r"text_decoder\.attn_mask",)
  )


def write(coca: Coca) -> tuple[dict[str, Any], dict[str, Any]]:
  """Return the content of open_clip_config.json, and the tensors by name.

  Raises:
    ValueError: open_clip's CoCa cannot have a field.
  """
  captioner = coca.captioner
  check(coca.model, captioner)
  text = coca.model.text
  assert isinstance(text, text_transformer.TextTransformerConfig)
  clip_transformers.refuse(
    "open_clip",
    clip_transformers.unlike(
      "captioner",
      captioner,
      {
        "mlp_width": _MLP_RATIO * captioner.width,
        "norm_epsilon": clip_transformers.NORM_EPSILON,
        "activation": _activation(text.activation == "quick_gelu"),
      },
    ),
  )
  config = open_clip.write_config(coca.model)
  model_cfg = config["model_cfg"]
  for section in ("vision_cfg", "text_cfg"):
    model_cfg[section]["output_tokens"] = True
  model_cfg[_FIELDS] = {
    "context_length": captioner.num_tokens,
    "vocab_size": captioner.vocab_size,
    "width": captioner.width,
    "heads": captioner.num_heads,
    "layers": captioner.depth,
  }
  tensors = mapping.save(
    open_clip.links(coca.model), sections.flat(coca.params, "/")
  )
  tensors |= mapping.save(links(), sections.flat(coca.captioner_params, "/"))
  return config, tensors


def has_captioner(tensors: mapping.Tensors) -> bool:
  """Return whether a file has tensors of a captioner."""
  return any(name.startswith(_THEIRS) for name in tensors)


def read_config(
  files: opening.PublishedFiles, model: dual_encoder.ModelConfig
) -> captioner_lib.CaptionerConfig:
  """Return the captioner of "multimodal_cfg", or else of the shapes.

  Raises:
    ValueError: a field is not supported, or does not fit the towers.
  """
  text = model.text
  assert isinstance(text, text_transformer.TextTransformerConfig)
  model_cfg = files.config.get("model_cfg", {})
  if files.config:
    given = model_cfg.get(_FIELDS)
    if given is None:
      raise ValueError(f"model_cfg must have {_FIELDS}, of CoCa's captioner")
    unknown = [x for x in given if x not in (*_READ, *_UNREAD, _SCALE)]
    if unknown:
      raise ValueError(
        f"{_FIELDS} has fields that are not known here: {', '.join(unknown)}"
      )
    hf_json.expect({_SCALE: None, **given}, _FIELDS, _SCALE, None)
    values = {**_READ, **given}
    sizes = {x: hf_json.integer(values, _FIELDS, x) for x in _READ}
    is_quick = model_cfg.get("quick_gelu", False)
  else:
    sizes = {
      "width": len(files.tensors[f"{_THEIRS}ln_final.weight"]),
      "heads": text.num_heads,
      "layers": mapping.count(
        files.tensors, f"{_THEIRS}resblocks.{{}}.ln_1.weight"
      ),
      "context_length": text.num_tokens,
    }
    is_quick = text.activation == "quick_gelu"
  captioner = captioner_lib.CaptionerConfig(
    depth=sizes["layers"],
    width=sizes["width"],
    num_heads=sizes["heads"],
    mlp_width=_MLP_RATIO * sizes["width"],
    activation=_activation(is_quick),
    norm_epsilon=clip_transformers.NORM_EPSILON,
    vocab_size=text.vocab_size,
    num_tokens=sizes["context_length"],
  )
  captioner.check(_FIELDS)
  check(model, captioner)
  return captioner


def check(
  model: dual_encoder.ModelConfig, captioner: captioner_lib.CaptionerConfig
) -> None:
  """Raise ValueError where towers cannot feed a captioner."""
  image, text = model.image, model.text
  pool = getattr(image, "pool", None)
  if not isinstance(image, vit.ViTConfig) or pool != "queries":
    raise ValueError(
      "a captioner needs a Vision Transformer with attentional_pool;"
      f' got model.image.pool="{pool}"'
    )
  if not isinstance(text, text_transformer.TextTransformerConfig):
    raise ValueError("a captioner needs a text transformer; got BERT")
  text_transformer.check_captioning(text)
  if not captioner.width == text.width == model.embed_dim:
    raise ValueError(
      "the captioner's width must be the text tower's and the embedding's; got"
      f" {captioner.width}, {text.width} and {model.embed_dim}"
    )
  if captioner.vocab_size != text.vocab_size:
    raise ValueError(
      "the captioner's vocab_size must be the text tower's; got"
      f" {captioner.vocab_size} and {text.vocab_size}"
    )


def shapes_of(
  model: dual_encoder.ModelConfig, captioner: captioner_lib.CaptionerConfig
) -> dict[str, Any]:
  """Return a captioner's parameters as nested ShapeDtypeStructs."""
  made = jax.eval_shape(
    lambda: captioner_lib.Captioner(
      captioner, dual_encoder.settings_of(model), rngs=nnx.Rngs(params=0)
    )
  )
  return nnx.to_pure_dict(nnx.state(made, nnx.Param))


def make(coca: Coca) -> tuple[dual_encoder.DualEncoder, Any]:
  """Return the towers and the captioner, with their parameters."""
  settings = dual_encoder.settings_of(coca.model)
  captioner = jax.eval_shape(
    lambda: captioner_lib.Captioner(
      coca.captioner, settings, rngs=nnx.Rngs(params=0)
    )
  )
  graph = nnx.split(captioner)[0]
  return (
    dual_encoder.merge(dual_encoder.make_graph(coca.model), coca.params),
    nnx.merge(graph, coca.captioner_params),
  )


def links() -> tuple[mapping.Link, ...]:
  """Return the links of the captioner's tensors."""
  cross = f"{_THEIRS}cross_attn.{mapping.LAYER}"
  return (
    *openai_names.blocks("blocks/text", _THEIRS.rstrip(".")),
    *torch_links.block("blocks/image", cross, _CROSS),
    *torch_links.fused_attention("blocks/image/attn", f"{cross}.attn"),
    *torch_links.norm("norm", f"{_THEIRS}ln_final"),
    mapping.link("words", f"{_THEIRS}text_projection", forms.DENSE),
  )


def _activation(is_quick: bool) -> str:
  return "quick_gelu" if is_quick else "gelu"
