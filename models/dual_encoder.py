"""Two towers that meet in one embedding space."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import (
  batch_norm,
  bert,
  class_head,
  convnext,
  efficientnet,
  layers,
  naflex,
  resnet,
  stack,
  swin,
  text_transformer,
  tower,
  vit,
)
from models import lora as lora_lib
from runtime import checks, marks, notices

DTYPES = ("bfloat16", "float32")
# Parameters that a run may have beside the model's: those of a decoder, of
# self-distillation and of a captioner (training/objectives/joint.py). They
# embed nothing.
PARTS = ("decoder", "distilling", "captioner")
# A config's `tower` is a Literal: training/config.py reads a section by it.
ImageConfig = (
  vit.ViTConfig
  | naflex.NaFlexConfig
  | resnet.ResNetConfig
  | efficientnet.EfficientNetConfig
  | convnext.ConvNeXtConfig
  | swin.SwinConfig
)
TextConfig = text_transformer.TextTransformerConfig | bert.BertConfig
IMAGE_TOWERS: Mapping[str, Any] = types.MappingProxyType(
  {
    "vit": vit.ViT,
    "naflex": naflex.NaFlex,
    "resnet": resnet.ResNet,
    "efficientnet": efficientnet.EfficientNet,
    "convnext": convnext.ConvNeXt,
    "swin": swin.Swin,
  }
)
TEXT_TOWERS: Mapping[str, Any] = types.MappingProxyType(
  {"transformer": text_transformer.TextTransformer, "bert": bert.Bert}
)
# Configs of towers whose stages differ in shape, which are never cut into
# chunks.
_STAGED = (
  resnet.ResNetConfig,
  efficientnet.EfficientNetConfig,
  convnext.ConvNeXtConfig,
  swin.SwinConfig,
)

Params = dict[str, Any]
EmbedFn = Callable[[Params, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Fields of `config.model`; configs/base.py explains them.

  A model read from a file may have one tower only; the other is None.
  """

  embed_dim: marks.Fixed[int]
  dtype: marks.Training[str]
  remat: typing.Annotated[
    str, marks.recomputes("none", "dense", "block", cost=0)
  ]
  remat_chunks: typing.Annotated[int, marks.recomputes(1, 2, 4, 8, cost=1)]
  scale_init: marks.Training[float]
  scale_max: marks.Training[float]
  bias_init: marks.Training[float]
  image_mean: marks.Fixed[tuple[float, ...]]
  image_std: marks.Fixed[tuple[float, ...]]
  image: ImageConfig | None
  text: TextConfig | None
  lora: lora_lib.LoraConfig = lora_lib.LoraConfig()
  head: class_head.HeadConfig = class_head.HeadConfig()

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where the fields do not fit together."""
    checks.one_of("model.dtype", self.dtype, DTYPES)
    checks.one_of("model.remat", self.remat, stack.REMATS)
    if self.remat_chunks < 1 or (
      self.remat_chunks > 1 and self.remat != "block"
    ):
      checks.refuse(
        "model.remat_chunks must be at least 1, and 1 unless"
        f' model.remat="block"; got {self.remat_chunks} with'
        f' model.remat="{self.remat}"'
      )
    if self.remat_chunks > 1 and isinstance(self.image, _STAGED):
      notices.say_once(
        f"model.remat_chunks={self.remat_chunks} cuts layers of transformers;"
        f" the image tower, {self.image.tower}, is of stages and is not cut"
      )
    checks.above("model.scale_init", self.scale_init, 0)
    self.lora.check()
    self.head.check()
    for config in self.towers:
      with checks.collected():
        config.check(self.embed_dim)

  @property
  def towers(self) -> tuple[ImageConfig | TextConfig, ...]:
    """The configs of the towers that this model has."""
    return tuple(x for x in (self.image, self.text) if x is not None)

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers in a tower."""
    return any(config.draws for config in self.towers)

  @property
  def batch_norm_group(self) -> int | None:
    """Images normalised together in training, 0: all; None: no batch norm."""
    if isinstance(
      self.image, resnet.ResNetConfig | efficientnet.EfficientNetConfig
    ):
      return self.image.batch_norm_group
    return None


class DualEncoder(nnx.Module):
  """An image tower, a text tower, and the scale and bias of their logits.

  With classes, a linear head besides, which reads embeddings of images.
  """

  def __init__(
    self,
    config: ModelConfig,
    *,
    rngs: nnx.Rngs,
    batch_axes: tuple[str, ...] = (),
  ):
    settings = settings_of(config, batch_axes)
    self.img = (
      IMAGE_TOWERS[config.image.tower](config.image, settings, rngs=rngs)
      if config.image is not None
      else None
    )
    self.txt = (
      TEXT_TOWERS[config.text.tower](config.text, settings, rngs=rngs)
      if config.text is not None
      else None
    )
    self.log_scale = nnx.Param(jnp.full((), math.log(config.scale_init)))
    self.bias = nnx.Param(jnp.full((), float(config.bias_init)))
    classes = config.head.classes
    if classes:
      self.head = class_head.Head(config.embed_dim, len(classes))
    self.config = config
    lora_lib.add(self, config.lora, rngs)

  def __call__(
    self,
    images_bYXC: jax.Array | None = None,
    tokens_bL: jax.Array | None = None,
    keys_b: jax.Array | None = None,
  ) -> tuple[jax.Array | None, jax.Array | None]:
    """Embed images, captions or both.

    Args:
      images_bYXC: uint8, or None to leave the image tower out.
      tokens_bL: int32 ids, or None to leave the text tower out.
      keys_b: one random key an example, used in training; None draws nothing.

    Returns:
      zimg_bE and ztxt_bE, float32 with L2 norm 1; None for an input left out.
    """
    zimg_bE = ztxt_bE = None
    if images_bYXC is not None:
      zimg_bE = self.embed_images(images_bYXC, keys_b)
    if tokens_bL is not None:
      # Not the image tower's random stream: towers may have the same depth.
      keys_b = None if keys_b is None else layers.fold_in(keys_b, 1)
      ztxt_bE = self.embed_texts(tokens_bL, keys_b)
    return zimg_bE, ztxt_bE

  def embed_in_training(
    self,
    images_bYXC: jax.Array,
    tokens_bL: jax.Array | None,
    keys_b: jax.Array | None = None,
  ) -> tuple[tuple[jax.Array | None, jax.Array | None], batch_norm.Statistics]:
    """Embed pairs or images as `__call__` does, but normalise over the batch.

    Returns:
      (zimg_bE, ztxt_bE), and the new running statistics, {} without batch norm.
    """
    if self.config.batch_norm_group is None:
      return self(images_bYXC, tokens_bL, keys_b), {}
    assert self.img is not None
    stats: batch_norm.Statistics = {}
    zimg_bE = l2_normalise(self.img(images_bYXC, keys_b, stats))
    _, ztxt_bE = self(tokens_bL=tokens_bL, keys_b=keys_b)
    return (zimg_bE, ztxt_bE), {"img": stats}

  def embed_images(
    self, images_bYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return zimg_bE, float32 with L2 norm 1, of uint8 images."""
    if self.img is None:
      raise ValueError("this model has no image tower")
    return l2_normalise(self.img(images_bYXC, keys_b))

  def embed_texts(
    self, tokens_bL: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return ztxt_bE, float32 with L2 norm 1, of int32 ids."""
    if self.txt is None:
      raise ValueError("this model has no text tower")
    return l2_normalise(self.txt(tokens_bL, keys_b))


def l2_normalise(x_bE: jax.Array) -> jax.Array:
  """Return rows of length 1, float32."""
  x_bE = x_bE.astype(jnp.float32)
  # The square is clamped, so that the gradient is finite at the zero vector.
  square_b1 = jnp.sum(jnp.square(x_bE), axis=-1, keepdims=True)
  return x_bE * jax.lax.rsqrt(jnp.maximum(square_b1, 1e-12))


def settings_of(
  config: ModelConfig, batch_axes: tuple[str, ...] = ()
) -> tower.Settings:
  """Return what both towers share; `batch_axes` as in `make_graph`."""
  return tower.Settings(
    embed_dim=config.embed_dim,
    mean=config.image_mean,
    std=config.image_std,
    dtype=config.dtype,
    remat=config.remat,
    remat_chunks=config.remat_chunks,
    batch_axes=batch_axes,
  )


def init_params(config: ModelConfig, key: jax.Array) -> Params:
  """Return a new model's parameters, a nested dict of float32 arrays.

  Inside of a program, a config is traced once in a process: a run asks for the
  shapes of its parameters several times before it makes them.
  """
  make_fn = _traced_params if isinstance(key, jax.core.Tracer) else _new_params
  return make_fn(config, key)


def _new_params(config: ModelConfig, key: jax.Array) -> Params:
  model = DualEncoder(config, rngs=nnx.Rngs(params=key))
  return nnx.to_pure_dict(nnx.state(model, nnx.Param))


# JAX keeps the trace of a config. `inline` puts its operations into the program
# around it, which is the same as one without this cache.
_traced_params = jax.jit(_new_params, static_argnums=0, inline=True)


@functools.lru_cache(maxsize=32)
def make_graph(
  config: ModelConfig, batch_axes: tuple[str, ...] = ()
) -> nnx.GraphDef:
  """Return the model without its parameters; no array is made.

  A config is traced once in a process; further calls return the same object.

  Args:
    config: checked.
    batch_axes: axes of the mesh in use that batches are split over; see
      stack.encode.
  """
  model = jax.eval_shape(
    lambda: DualEncoder(
      config, rngs=nnx.Rngs(params=jax.random.key(0)), batch_axes=batch_axes
    )
  )
  return nnx.split(model)[0]


def merge(graph: nnx.GraphDef, params: Params) -> DualEncoder:
  """Return the model of `make_graph` with these parameters, less PARTS."""
  own = {name: x for name, x in params.items() if name not in PARTS}
  return nnx.merge(graph, own)


def feature_fn(
  config: ModelConfig, batch_axes: tuple[str, ...] = ()
) -> EmbedFn:
  """Return features(params, images): the image tower without its projection.

  It is pure, and returns float32 rows of the tower's width that are not
  normalised, the features of CLIP's linear probes of ViTs (arXiv 2103.00020,
  A.3). A tower without a projection of its own, as a ResNet that ends in
  attention pooling, returns its output.
  """
  graph = make_graph(config, batch_axes)

  def features(params: Params, images_bYXC: jax.Array) -> jax.Array:
    model = merge(graph, params)
    if model.img is None:
      raise ValueError("this model has no image tower")
    if getattr(model.img, "projection", None) is not None:
      model.img.projection = None
    return model.img(images_bYXC).astype(jnp.float32)

  return features


def embed_fns(
  config: ModelConfig, batch_axes: tuple[str, ...] = ()
) -> tuple[EmbedFn, EmbedFn]:
  """Return embed_images(params, images) and embed_texts(params, tokens).

  Both are pure, and return float32 rows of L2 norm 1. `batch_axes` as in
  `make_graph`.
  """
  graph = make_graph(config, batch_axes)
  return (
    lambda params, images_bYXC: merge(graph, params).embed_images(images_bYXC),
    lambda params, tokens_bL: merge(graph, params).embed_texts(tokens_bL),
  )
