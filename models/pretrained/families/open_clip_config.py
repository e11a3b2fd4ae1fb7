"""Section "model_cfg" of open_clip_config.json, as of open_clip 3.3."""

import re
import types
from collections.abc import Collection, Mapping
from typing import Any

from models import convnext, dual_encoder, resnet, text_transformer, vit
from models.pretrained.parts import (
  clip_transformers,
  hf_json,
  timm_convnext,
  timm_siglip,
)

# Defaults for open_clip_config.json (model.py in open_clip): fields that are
# read, and fields that the towers here cannot express.
_BOTH: Mapping[str, Any] = types.MappingProxyType(
  {"layers": 12, "mlp_ratio": 4.0, "act_kwargs": None, "norm_kwargs": None}
)
_FIXED: Mapping[str, Any] = types.MappingProxyType(
  {
    "ls_init_value": None,
    "final_ln_after_pool": False,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
  }
)
_IMAGE: Mapping[str, Any] = types.MappingProxyType(
  {
    **_BOTH,
    "width": 768,
    "head_width": 64,
    "patch_size": 16,
    "image_size": 224,
    "attentional_pool": False,
    "attn_pooler_queries": 256,
    "attn_pooler_heads": 8,
  }
)
_IMAGE_FIXED: Mapping[str, Any] = types.MappingProxyType(
  {
    **_FIXED,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "pool_type": "tok",
    "timm_model_name": None,
  }
)
_TEXT: Mapping[str, Any] = types.MappingProxyType(
  {
    **_BOTH,
    "width": 512,
    "heads": 8,
    "context_length": 77,
    "vocab_size": 49_408,
    "embed_cls": False,
    "pad_id": 0,
    "eos_id": 2,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
  }
)
_TEXT_FIXED: Mapping[str, Any] = types.MappingProxyType(
  {**_FIXED, "hf_model_name": None}
)
# Fields that do not change a model's output.
_HARMLESS = (
  "output_tokens",
  "patch_dropout",
  "hf_tokenizer_name",
  "tokenizer_mode",
  "tokenizer_kwargs",
  "timm_model_pretrained",
  "timm_drop",
  "timm_drop_path",
  "hf_model_pretrained",
)
# Fields of training: nothing is dropped or recomputed when embedding.
_TRAINING = re.compile(
  r".*drop(out|_path|_rate|_connect)?(_rate|_prob)?|.*grad(ient)?_checkpointing|"
  r"initializer_.*|init_std|use_cache|torch_dtype|dtype|_attn_implementation"
)
_MODEL = (
  "embed_dim",
  "vision_cfg",
  "text_cfg",
  "quick_gelu",
  "custom_text",
  "init_logit_scale",
  "init_logit_bias",
  "nonscalar_logit_scale",
  "output_dict",
  "cast_dtype",
  "multimodal_cfg",
)
# Fields of CoCa's text tower, whose cls token is pooled.
COCA_TEXT: dict[str, Any] = {"pool": "cls", "mask_padding": True}
_QUICK = "quick_gelu"
_TANH = {"approximate": "tanh"}
# End of text of SigLIP's tokenizers, used with pool_type="last".
_LAST_EOT_ID = 1
_POOLS: Mapping[str, str] = types.MappingProxyType(
  {"argmax": "argmax", "eos": "eot", "first": "first", "last": "last"}
)


def check(config: Mapping[str, Any]) -> None:
  """Raise ValueError for a field of "model_cfg" that is not supported."""
  _refuse_unknown("model_cfg", config, _MODEL)


def read_image(config: Mapping[str, Any]) -> vit.ViTConfig:
  """Return the Vision Transformer of "model_cfg".

  Raises:
    ValueError: a field of "vision_cfg" or its value is not supported.
  """
  values = _section("vision_cfg", config["vision_cfg"], _IMAGE, _IMAGE_FIXED)
  if values["attentional_pool"] not in (False, True):
    raise ValueError(
      "vision_cfg: attentional_pool must be true or false; got"
      f" {values['attentional_pool']!r}"
    )
  pool: dict[str, Any] = {}
  if values["attentional_pool"]:
    pool = {
      "pool": "queries",
      "num_queries": values["attn_pooler_queries"],
      "pool_heads": values["attn_pooler_heads"],
    }
  return clip_transformers.make_image(
    **_read_sizes("vision_cfg", values, config),
    **pool,
    num_heads=values["width"] // values["head_width"],
    image_size=hf_json.integer(values, "vision_cfg", "image_size"),
    patch_size=hf_json.integer(values, "vision_cfg", "patch_size"),
  )


def read_text(
  config: Mapping[str, Any],
) -> text_transformer.TextTransformerConfig:
  """Return the text tower of "model_cfg".

  Raises:
    ValueError: a field of "text_cfg" or its value is not supported.
  """
  values = _section("text_cfg", config["text_cfg"], _TEXT, _TEXT_FIXED)
  hf_json.expect(values, "text_cfg", "pool_type", *_POOLS)
  hf_json.expect(values, "text_cfg", "proj_type", "linear", "none")
  eot_ids = {"eos": values["eos_id"], "last": _LAST_EOT_ID}
  fields = {
    **clip_transformers.highest_id(values["vocab_size"]),
    "causal": not values["no_causal_mask"],
    "projection": values["proj_type"] == "linear",
    "projection_bias": values["proj_bias"],
  }
  if values["pool_type"] != "argmax":
    fields["pool"] = _POOLS[values["pool_type"]]
    fields["eot_id"] = eot_ids.get(values["pool_type"], fields["eot_id"])
  if values["embed_cls"]:  # overrides pool_type
    fields |= COCA_TEXT
  return clip_transformers.make_text(
    **_read_sizes("text_cfg", values, config),
    **fields,
    num_heads=values["heads"],
    vocab_size=values["vocab_size"],
    num_tokens=values["context_length"],
    pad_id=values["pad_id"],
  )


def write(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return "model_cfg" of a model whose text tower is open_clip's own.

  Raises:
    ValueError: "model_cfg" cannot express a field.
  """
  image, text = model.image, model.text
  clip_transformers.refuse(
    "open_clip",
    _unlike_image(image)
    + _unlike_text(text)
    + _unlike_activations(image, text),
  )
  assert isinstance(
    image, vit.ViTConfig | resnet.ResNetConfig | convnext.ConvNeXtConfig
  )
  assert isinstance(text, text_transformer.TextTransformerConfig)
  config: dict[str, Any] = {
    "embed_dim": model.embed_dim,
    "quick_gelu": text.activation == _QUICK,
    "vision_cfg": _write_image(image),
    "text_cfg": {
      "context_length": text.num_tokens,
      "vocab_size": text.vocab_size,
      "heads": text.num_heads,
      "pad_id": text.pad_id,
      "no_causal_mask": not text.causal,
      "proj_type": "linear" if text.projection else "none",
      "proj_bias": text.projection_bias,
      **_write_pool(text),
      **_write_sizes(text),
    },
  }
  if is_custom(text):
    config["custom_text"] = True
  if model.bias_init:
    config["init_logit_bias"] = model.bias_init
  return config


def is_custom(text: text_transformer.TextTransformerConfig) -> bool:
  """Return whether published models of this kind are CustomTextCLIP or CoCa."""
  return text.pool not in ("eot", "argmax")


def _unlike_image(image: Any) -> list[str]:
  if isinstance(image, convnext.ConvNeXtConfig):
    return timm_convnext.unlike_image(image)
  if isinstance(image, vit.ViTConfig) and image.pool == "map":
    return timm_siglip.unlike_image(image)
  if isinstance(image, resnet.ResNetConfig):
    heads = image.width * resnet.STRIDE // _IMAGE["head_width"]
    return clip_transformers.unlike("model.image", image, {"num_heads": heads})
  has_queries = getattr(image, "pool", None) == "queries"
  return clip_transformers.unlike_image(
    image, projection=True, pool="queries" if has_queries else "cls"
  )


def _unlike_text(text: Any) -> list[str]:
  pool = getattr(text, "pool", None)
  if pool == "cls":
    return clip_transformers.unlike_text(text, **COCA_TEXT)
  # Text towers of other pools may have any value of these fields.
  free = {x: getattr(text, x, None) for x in ("causal", "projection_bias")}
  pool = pool if pool in _POOLS.values() else "eot"
  return clip_transformers.unlike_text(text, **free, pool=pool)


def _unlike_activations(image: Any, text: Any) -> list[str]:
  """Return a line if exactly one tower has QuickGELU.

  quick_gelu applies to the text tower alone if timm makes the image tower.
  """
  if getattr(image, "pool", None) == "map":
    return []
  activations = [getattr(x, "activation", None) for x in (image, text)]
  if None in activations or (activations[0] == _QUICK) == (
    activations[1] == _QUICK
  ):
    return []
  return [
    f"model.text.activation: expected {_QUICK!r} in both towers or in none; got"
    f" {activations[1]!r}, and {activations[0]!r} of the image tower"
  ]


def _write_image(
  image: vit.ViTConfig | resnet.ResNetConfig | convnext.ConvNeXtConfig,
) -> dict[str, Any]:
  if isinstance(image, convnext.ConvNeXtConfig):
    return timm_convnext.write_image(image)
  if isinstance(image, resnet.ResNetConfig):
    return {
      "image_size": image.image_size,
      "layers": list(image.depths),
      "width": image.width,
    }
  if image.pool == "map":
    return timm_siglip.write_image(image)
  config = {
    "image_size": image.image_size,
    "patch_size": image.patch_size,
    "head_width": image.width // image.num_heads,
    **_write_sizes(image),
  }
  if image.pool == "queries":
    config |= {
      "attentional_pool": True,
      "attn_pooler_queries": image.num_queries,
      "attn_pooler_heads": image.pool_heads,
    }
  return config


def _write_pool(
  text: text_transformer.TextTransformerConfig,
) -> dict[str, Any]:
  if text.pool == "cls":
    return {"embed_cls": True}
  if text.pool != "eot":
    return {"pool_type": text.pool}
  if clip_transformers.highest_id(text.vocab_size) == {
    "pool": text.pool,
    "eot_id": text.eot_id,
  }:
    return {"pool_type": "argmax"}
  return {"pool_type": "eos", "eos_id": text.eot_id}


def _write_sizes(
  tower: vit.ViTConfig | text_transformer.TextTransformerConfig,
) -> dict[str, Any]:
  sizes: dict[str, Any] = {
    "width": tower.width,
    "layers": tower.depth,
    "mlp_ratio": clip_transformers.mlp_ratio(tower.width, tower.mlp_width),
  }
  if tower.activation == "gelu_tanh":
    sizes["act_kwargs"] = _TANH
  if tower.norm_epsilon != clip_transformers.NORM_EPSILON:
    sizes["norm_kwargs"] = {"eps": tower.norm_epsilon}
  return sizes


def _read_sizes(
  section: str, values: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
  quick_gelu = config.get("quick_gelu", False)
  activation = _QUICK if quick_gelu else "gelu"
  if values["act_kwargs"]:
    hf_json.expect(values, section, "act_kwargs", _TANH)
    if quick_gelu:
      raise ValueError(
        f"{section}: act_kwargs must be absent with quick_gelu; got {_TANH}"
      )
    activation = "gelu_tanh"
  norm = values["norm_kwargs"] or {"eps": clip_transformers.NORM_EPSILON}
  _refuse_unknown(f"{section}.norm_kwargs", norm, ("eps",))
  return {
    "width": values["width"],
    "depth": hf_json.integer(values, section, "layers"),
    "mlp_width": int(values["width"] * values["mlp_ratio"]),
    "activation": activation,
    "norm_epsilon": norm["eps"],
  }


def _section(
  name: str,
  values: Mapping[str, Any],
  known: Mapping[str, Any],
  fixed: Mapping[str, Any],
) -> dict[str, Any]:
  """Return the supported fields of a tower; refuse other values of `fixed`."""
  _refuse_unknown(name, values, (*known, *fixed, *_HARMLESS))
  for field in fixed:
    hf_json.expect({**fixed, **values}, name, field, fixed[field])
  return {**known, **values}


def _refuse_unknown(
  name: str, values: Mapping[str, Any], known: Collection[str]
) -> None:
  unknown = [
    field
    for field in values
    if field not in known and not _TRAINING.fullmatch(field)
  ]
  if unknown:
    raise ValueError(
      f"{name} has fields that are not known here: {', '.join(unknown)}"
    )
