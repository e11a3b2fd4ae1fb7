"""Pairs with further losses: SigLIP 2's training, and CoCa's.

The loss of pairs is that of objectives/pairs.py. Beside it, each with a weight:
a decoder's (objectives/decoding.py) and those of self-distillation
(objectives/self_distilled.py), or a captioner's (objectives/captioning.py). An
image is encoded once for pairs and decoder or captioner, a caption once for
pairs and captioner; the views of self-distillation are encoded apart. Each
further loss is a mean over what it counts in the whole batch, so micro-batches
and meshes do not change it. Source: SigLIP 2 (arXiv 2502.14786, section 2).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import losses
from models import batch_norm, dual_encoder, layers, naflex, tower
from models.decoding import captioner as captioner_lib
from models.decoding import decoder as decoder_lib
from models.distilling import heads as heads_lib
from runtime import checks, sections
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import optimizer as optimizer_lib
from training.objectives import captioning, decoding, pairs, self_distilled
from training.objectives import objective as objective_lib

DECODER, DISTILLING, CAPTIONER = dual_encoder.PARTS
# Random streams of a row: towers, decoder, masks.
_TOWERS, _DECODER, _MASKS = range(3)
# Key of sums of losses and counts beside the new statistics.
_SUMS = "sums"
_REGIONS = ("tokens", "targets", "weights", "tasks")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows of image-text pairs with what the further losses need.

  Attributes:
    images, tokens, labels, keys: as those of pairs.Batch.
    targets: decoding.Targets, or None.
    views: self_distilled.Views, or None.
  """

  images: Any
  tokens: Any
  labels: Any = None
  keys: Any = None
  targets: Any = None
  views: Any = None


class Outputs(NamedTuple):
  """Outputs of each row that the loss needs.

  Attributes:
    zimg: float32 [B, E]; None without the loss of pairs.
    ztxt: float32 [B, E]; None without the loss of pairs.
    parts: name of a further loss -> sum of a row's losses and what they count,
      float32 [B] each.
  """

  zimg: jax.Array | None
  ztxt: jax.Array | None
  parts: dict[str, tuple[jax.Array, jax.Array]]


def is_on(config: config_lib.Config) -> bool:
  """Return whether a config has one of the further losses."""
  return (
    config.decoding.is_on
    or config.distillation.is_on
    or config.captioning.is_on
  )


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config with a further loss.

  Raises:
    ValueError: optimizer.freeze lets a parameter go that does not learn, which
      weight decay would change.
  """
  if not config.loss.has_pairs:
    _check_freeze(config)
  pair_loss = losses.make_loss(config.loss, mesh_lib.BATCH_AXES)
  weights = _weights(config)

  def embed(params, stats, batch: Batch, ema=None):
    variables = batch_norm.join(params, stats)
    model = dual_encoder.merge(_graph(config), variables)
    keys = functools.partial(_stream, batch.keys)
    parts: dict[str, Any] = {}
    zimg_bE = ztxt_bE = None
    new_stats: dict[str, Any] = {}
    if config.captioning.is_on:
      (zimg_bE, ztxt_bE), (tokens_bND, text_bLD) = captioning.encode(
        model, batch.images, batch.tokens, keys(_TOWERS)
      )
      parts["caption"] = captioning.losses_of_rows(
        nnx.merge(_graph_of(config, CAPTIONER), variables[CAPTIONER]),
        tokens_bND,
        text_bLD,
        batch.tokens,
        getattr(config.model.text, "pad_id", 0),
      )
    else:
      zimg_bE, tokens_bND = _image(model, batch.images, keys(_TOWERS))
      if config.loss.has_pairs:
        _, ztxt_bE = model(tokens_bL=batch.tokens, keys_b=keys(_TOWERS))
        assert ztxt_bE is not None  # texts were given
      else:
        zimg_bE = None
    if config.decoding.is_on:
      decoder = nnx.merge(decoder_graph(config), variables[DECODER])
      mask_bN = (
        naflex.real_patches(batch.images)
        if isinstance(batch.images, naflex.Patches)
        else None
      )
      parts["decoder"] = decoding.losses_of_rows(
        decoder, batch.targets, tokens_bND, mask_bN, keys(_DECODER)
      )
    if config.distillation.is_on:
      assert ema is not None
      masks_b = keys(_MASKS)
      assert masks_b is not None  # the objective draws
      learned = batch_norm.join(ema, {DISTILLING: stats.get(DISTILLING, {})})
      # The teacher has no mask token: what it sees is whole.
      found, centers = self_distilled.losses_of_rows(
        config.distillation,
        _towers(config, variables),
        _towers(config, variables | learned, variables[DISTILLING]),
        batch.views,
        masks_b,
      )
      parts |= found
      new_stats = {DISTILLING: centers}
    new_stats[_SUMS] = {
      name: jax.lax.stop_gradient((jnp.sum(loss_b), jnp.sum(count_b)))
      for name, (loss_b, count_b) in parts.items()
    }
    return Outputs(zimg_bE, ztxt_bE, parts), new_stats

  def loss(params, outputs: Outputs, batch: Batch):
    total = jnp.zeros((), jnp.float32)
    if config.loss.has_pairs:
      scale, bias = jnp.exp(params["log_scale"]), params["bias"]
      total = config.loss.weight * pair_loss(
        outputs.zimg, outputs.ztxt, scale, bias, batch.labels
      )
    for name, (loss_b, count_b) in outputs.parts.items():
      total += weights[name] * mean(loss_b, count_b)
    return total

  def embed_locked(params, stats, batch: Batch):
    return embed(params, stats, batch)[0]

  def bind(ema):
    return dataclasses.replace(
      objective,
      embed=functools.partial(embed, ema=ema),
      embed_locked=lambda *args: embed(*args, ema=ema)[0],
    )

  def metrics(params):
    scale, bias = jnp.exp(params["log_scale"]), params["bias"]
    return {"train/scale": scale, "train/bias": bias}

  objective = objective_lib.Objective(
    batch=shapes(config),
    batch_of=functools.partial(batch_of, config),
    embed=embed,
    embed_locked=embed_locked,
    loss=loss,
    gradient=pairs.gradient,
    metrics=metrics,
    init_params=functools.partial(init_params, config),
    draws=config.model.draws
    or (config.decoding.is_on and config.decoding.decoder.draws)
    or config.distillation.is_on,
    averaged=_averaged if config.distillation.is_on else None,
    bind=bind,
    measured=_measured,
  )
  return objective


def _measured(stats: Any) -> tuple[Any, dict[str, jax.Array]]:
  """Return statistics, and the mean of each further loss, without its weight.

  Micro-batches average sums and counts, whose ratio is that of the batch.
  """
  kept = {name: x for name, x in stats.items() if name != _SUMS}
  return kept, {
    f"train/{name}_loss": total / jnp.where(count > 0, count, 1.0)
    for name, (total, count) in stats.get(_SUMS, {}).items()
  }


def mean(loss_b: jax.Array, count_b: jax.Array) -> jax.Array:
  """Return the mean of what all rows count; 0 where they count nothing."""
  count = jnp.sum(count_b)
  return jnp.sum(loss_b) / jnp.where(count > 0, count, 1.0)


def init_params(config: config_lib.Config, key: jax.Array) -> dict[str, Any]:
  """Return new variables: a dual encoder's, and those of the further parts."""
  made = dual_encoder.init_params(config.model, key)
  for number, name in enumerate(dual_encoder.PARTS):
    module = _part(config, name, jax.random.fold_in(key, number))
    if module is not None:
      made[name] = nnx.to_pure_dict(nnx.state(module, nnx.Param))
  return made


def batch_of(config: config_lib.Config, arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of a loader's arrays."""
  pair = pairs.batch_of(arrays)
  targets = views = None
  if config.decoding.is_on:
    found = [arrays[f"decoder_{name}"] for name in _REGIONS]
    if config.data.regions.has_one_task:
      found = [x[:, None] for x in found]
    targets = decoding.Targets(*found)
  if config.distillation.is_on:
    views = self_distilled.Views(
      arrays["global_views"], arrays.get("local_views")
    )
  return Batch(pair.images, pair.tokens, pair.labels, None, targets, views)


def shapes(config: config_lib.Config) -> Batch:
  """Return the global batch as ShapeDtypeStructs."""
  arrays = pairs.array_shapes(config)
  arrays |= config.data.regions.shapes()
  arrays |= config.data.views.shapes(config.data.image_size)
  made = {
    name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype)
    for name, (shape, dtype) in arrays.items()
  }
  return jax.eval_shape(functools.partial(batch_of, config), made)


def _check_freeze(config: config_lib.Config) -> None:
  """Refuse a free parameter that no loss but that of pairs would train.

  A decoder reads tokens before pooling; self-distillation pools its views.
  """
  variables = jax.eval_shape(
    functools.partial(init_params, config), jax.random.key(0)
  )
  unlearned = ["txt/", "log_scale", "bias"]
  if not config.distillation.is_on:
    unlearned += ["img/pool/", "img/projection/"]
  fixed = optimizer_lib.frozen_params(config.optimizer, variables)
  free = [
    path
    for path, is_fixed in sections.flat(fixed, "/").items()
    if not is_fixed and path.startswith(tuple(unlearned))
  ]
  if free:
    checks.refuse(
      "optimizer.freeze must hold the parameters that loss.weight=0 leaves"
      ' without a loss, as ((r"decoder/.*", False), (r".*", True)) does; got'
      f" {config.optimizer.freeze!r}, which leaves {len(free)} of"
      f" them, such as {free[0]}"
    )


def _weights(config: config_lib.Config) -> dict[str, float]:
  return {
    "decoder": config.decoding.weight,
    "consistency": config.distillation.consistency_weight,
    "masked": config.distillation.masked_weight,
    "caption": config.captioning.weight,
  }


def _stream(keys_b: jax.Array | None, stream: int) -> jax.Array | None:
  """Return keys of a stream; the towers' are those of objectives/pairs.py."""
  if keys_b is None or stream == _TOWERS:
    return keys_b
  # Streams of the towers begin at 0 and 1.
  return layers.fold_in(keys_b, 100 + stream)


def _image(
  model: dual_encoder.DualEncoder, images: Any, keys_b: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Return embeddings of L2 norm 1, and the tokens before pooling."""
  assert model.img is not None
  zimg_bE, tokens_bND = model.img.embedding_and_tokens(images, keys_b)
  return dual_encoder.l2_normalise(zimg_bE), tokens_bND


def _averaged(params: Mapping[str, Any]) -> dict[str, Any]:
  """Return the parameters whose averages the teacher has."""
  heads = {name: x for name, x in params[DISTILLING].items() if name != "mask"}
  return {"img": params["img"], DISTILLING: heads}


def _towers(
  config: config_lib.Config,
  variables: Mapping[str, Any],
  own: Mapping[str, Any] | None = None,
) -> self_distilled.Teacher:
  """Return image tower and heads of variables.

  Args:
    config: config of the objective.
    variables: variables of the model and of the heads.
    own: variables of the student's heads, whose mask token fills the teacher's
      place; None for the student.
  """
  model = dual_encoder.merge(_graph(config), dict(variables))
  heads = dict(variables[DISTILLING])
  if own is not None and "mask" in own:
    heads["mask"] = own["mask"]
  img: Any = model.img
  return self_distilled.Teacher(img, nnx.merge(_heads_graph(config), heads))


def _graph(config: config_lib.Config) -> nnx.GraphDef:
  return dual_encoder.make_graph(config.model, mesh_lib.BATCH_AXES)


def _settings(config: config_lib.Config) -> tower.Settings:
  return dual_encoder.settings_of(config.model, mesh_lib.BATCH_AXES)


def _part(
  config: config_lib.Config, name: str, key: jax.Array
) -> nnx.Module | None:
  """Return the module of a further part; None where the config has none."""
  image: Any = config.model.image
  rngs = nnx.Rngs(params=key)
  if name == DECODER and config.decoding.is_on:
    return decoder_lib.Decoder(
      config.decoding.decoder,
      _settings(config),
      image_width=image.width,
      rngs=rngs,
    )
  if name == DISTILLING and config.distillation.is_on:
    return heads_lib.Heads(
      config.distillation,
      embed_width=config.model.embed_dim,
      token_width=image.width,
      dtype=config.model.dtype,
      rngs=rngs,
    )
  if name == CAPTIONER and config.captioning.is_on:
    return captioner_lib.Captioner(
      config.captioning.captioner, _settings(config), rngs=rngs
    )
  return None


def _graph_of(config: config_lib.Config, name: str) -> nnx.GraphDef:
  make_fn = lambda: _part(config, name, jax.random.key(0))  # noqa: E731
  return nnx.split(jax.eval_shape(make_fn))[0]


def decoder_graph(config: config_lib.Config) -> nnx.GraphDef:
  """Return the decoder of a config that has one, without its parameters."""
  return _graph_of(config, DECODER)


def captioner_graph(config: config_lib.Config) -> nnx.GraphDef:
  """Return the captioner of a config that has one, without its parameters."""
  return _graph_of(config, CAPTIONER)


def _heads_graph(config: config_lib.Config) -> nnx.GraphDef:
  return _graph_of(config, DISTILLING)
