"""Our own Vision Transformer and text transformer, with code for transformers.

No class of transformers has every pooling, norm and mask of our towers: the
folder holds a file of PyTorch code beside the weights, which
AutoModel.from_pretrained runs with trust_remote_code=True. Modules have our own
names in it.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from models import dual_encoder, text_transformer, vit
from models.pretrained import forms, mapping, opening, positions
from models.pretrained.parts import clip_transformers, fresh, torch_links
from runtime import sections

IGNORED: tuple[str, ...] = ()
MODEL_TYPE = "diptych"
# Name of the file of code, without its ending.
CODE = "modeling_diptych"
# Values of the fields that the code does not have.
_IMAGE: dict[str, Any] = {"tower": "vit", "position": "learned"}
_TEXT: dict[str, Any] = {"tower": "transformer"}
# Values of fields of training, which are not written.
_IMAGE_TRAINING = {"dropout": 0.0, "patch_dropout": 0.0}
_TEXT_TRAINING = {"dropout": 0.0}
_POOLS: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
  {
    "image": ("cls", "gap", "map"),
    "text": ("last", "first", "eot", "argmax", "mean", "map"),
  }
)
_QUERIES = ("num_queries", "pool_heads")
_LAYER = {
  name: name.replace("/", ".")
  for name in (
    *("attn_norm", "attn/query", "attn/key", "attn/value", "attn/out"),
    *("mlp_norm", "mlp/up", "mlp/down"),
  )
}
_MAP_HEAD = {k: v for k, v in _LAYER.items() if k != "attn_norm"}


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether config.json names this family."""
  return files.config.get("model_type") == MODEL_TYPE


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model that config.json describes.

  Raises:
    ValueError: a field is missing or of another type.
  """
  config = files.config
  image, text = (
    sections.make(
      kind,
      {
        **fixed,
        **config[name],
      },
      prefix=f"config.json: {name}.",
      see="configs/base.py",
    )
    for name, kind, fixed in (
      ("image", vit.ViTConfig, _IMAGE | _IMAGE_TRAINING),
      (
        "text",
        text_transformer.TextTransformerConfig,
        _TEXT | _TEXT_TRAINING,
      ),
    )
  )
  return fresh.make_model(
    embed_dim=config["embed_dim"],
    scale_init=mapping.scale(files.tensors, "log_scale"),
    bias_init=mapping.number(files.tensors, "bias"),
    image=image,
    text=text,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  image, text = model.image, model.text
  assert isinstance(image, vit.ViTConfig)
  assert isinstance(text, text_transformer.TextTransformerConfig)
  result = [
    mapping.link("log_scale", "log_scale", forms.NUMBER),
    mapping.link("bias", "bias", forms.NUMBER),
    *torch_links.dense("img/patch", "img.patch", use_bias=not image.pre_norm),
    mapping.link("txt/token_embedding", "txt.token_embedding"),
  ]
  if image.pool == "cls":
    result.append(mapping.link("img/cls", "img.cls"))
  if image.pre_norm:
    result += torch_links.norm("img/pre_norm", "img.pre_norm")
  for there, tower, resize in (
    ("img", image, positions.resize_grid(int(image.has_cls))),
    ("txt", text, positions.resize_length),
  ):
    blocks = f"{there}.blocks.{mapping.LAYER}"
    result += [
      mapping.link(f"{there}/position", f"{there}.position", resize=resize),
      *torch_links.block(f"{there}/blocks", blocks, _LAYER),
      *torch_links.norm(f"{there}/norm", f"{there}.norm"),
    ]
    if tower.pool == "map":
      pool = f"{there}.pool"
      result.append(mapping.link(f"{there}/pool/probe", f"{pool}.probe"))
      result += torch_links.block(f"{there}/pool", pool, _MAP_HEAD)
    if tower.projection:
      use_bias = tower.projection_bias
      result += torch_links.dense(
        f"{there}/projection", f"{there}.projection", use_bias=use_bias
      )
  return tuple(result)


def write_config(model: dual_encoder.ModelConfig) -> dict[str, Any]:
  """Return the content of config.json, for a model with both towers.

  Raises:
    ValueError: the code cannot express a field.
  """
  image, text = model.image, model.text
  problems = [
    *clip_transformers.unlike("model.image", image, _IMAGE),
    *clip_transformers.unlike("model.text", text, _TEXT),
  ]
  for name, pools in _POOLS.items():
    pool = getattr(getattr(model, name), "pool", None)
    if pool not in pools and not problems:
      problems.append(
        f"model.{name}.pool: expected one of {', '.join(pools)}; got {pool!r}"
      )
  clip_transformers.refuse("the code for transformers", problems)
  classes = {"AutoConfig": "DiptychConfig", "AutoModel": "DiptychModel"}
  return {
    "architectures": [classes["AutoModel"]],
    "model_type": MODEL_TYPE,
    "auto_map": {auto: f"{CODE}.{name}" for auto, name in classes.items()},
    "dtype": "float32",
    "embed_dim": model.embed_dim,
    "image": _written(image, _IMAGE | _IMAGE_TRAINING),
    "text": _written(text, _TEXT | _TEXT_TRAINING),
  }


def _written(tower: Any, fixed: Mapping[str, Any]) -> dict[str, Any]:
  return {
    name: value
    for name, value in dataclasses.asdict(tower).items()
    if name not in (*fixed, *_QUERIES)
  }
