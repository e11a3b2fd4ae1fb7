"""Detection: a detector on an image tower's pyramid learns boxes of objects.

The tower is trained with it, or held by optimizer.freeze: then its pyramid is
that of the run that it comes from, and its running statistics stay.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from losses import detection
from models import batch_norm
from models.detecting import anchors, backbone, decoding, detector
from runtime import checks, param_rules
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import optimizer as optimizer_lib
from training.objectives import objective as objective_lib
from training.objectives import pairs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Pictures with boxes, split over the mesh's batch axes.

  Attributes:
    images: uint8 [B, Y, X, 3].
    boxes: float32 [B, M, 4], filled up with zeros.
    labels: int32 [B, M], classes.
    mask: bool [B, M], which of them are boxes.
    keys: random key of each picture, [B]; None unless the tower draws.
  """

  images: Any
  boxes: Any
  labels: Any
  mask: Any
  keys: Any = None


def batch_of(arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of arrays by name."""
  return Batch(**arrays)


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config, with detection.layout.

  Raises:
    ValueError: optimizer.freeze lets a parameter go that the pyramid does not
      use, which weight decay would change.
  """
  build = _builder(config)

  def init_params(key: jax.Array) -> Any:
    model = build(rngs=nnx.Rngs(params=key))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))

  _check_freeze(config, jax.eval_shape(init_params, jax.random.key(0)))
  graph = _graph(config)
  made = _anchors(config)

  def run(params, stats, batch: Batch, new_stats=None) -> detector.Outputs:
    model = nnx.merge(graph, batch_norm.join(params, stats))
    return model(batch.images, batch.keys, new_stats)

  def embed(params, stats, batch: Batch):
    if config.model.batch_norm_group is None:
      return run(params, stats, batch), {}
    new_stats: batch_norm.Statistics = {}
    outputs = run(params, stats, batch, new_stats)
    return outputs, {"img": new_stats}

  def loss(params, outputs: detector.Outputs, batch: Batch):
    del params
    args = (outputs, made, batch.boxes, batch.labels, batch.mask)
    return detection.losses(*args).total

  image = config.model.image
  assert image is not None  # training/config.py refuses None
  return objective_lib.Objective(
    batch=_shapes(config),
    batch_of=batch_of,
    embed=embed,
    embed_locked=run,
    loss=loss,
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=image.draws,
  )


def detect_fn(
  config: config_lib.Config,
) -> Callable[[Any, jax.Array], decoding.Detections]:
  """Return (variables, images) -> boxes found; can be traced."""
  graph, made = _graph(config), _anchors(config)
  size = config.detection.height, config.detection.width

  def detect(variables: Any, images_bYXC: jax.Array) -> decoding.Detections:
    model = nnx.merge(graph, variables)
    return decoding.decode(model(images_bYXC), made, *size)

  return detect


def _builder(
  config: config_lib.Config,
) -> Callable[..., backbone.PictureDetector]:
  section = config.detection
  return functools.partial(
    backbone.PictureDetector, section.model, config.model, section.num_classes
  )


def _graph(config: config_lib.Config) -> nnx.GraphDef:
  """Return the model without its parameters; no array is made."""
  build = _builder(config)
  return nnx.split(
    jax.eval_shape(
      lambda: build(
        rngs=nnx.Rngs(params=jax.random.key(0)),
        batch_axes=mesh_lib.BATCH_AXES,
      )
    )
  )[0]


def _anchors(config: config_lib.Config) -> anchors.Anchors:
  section = config.detection
  return anchors.make(section.height, section.width, section.model.anchor_scale)


def _check_freeze(config: config_lib.Config, variables: Any) -> None:
  image = config.model.image
  assert image is not None  # training/config.py refuses None
  unused = backbone.UNUSED[image.tower]
  fixed = optimizer_lib.frozen_params(config.optimizer, variables)
  free = [
    param_rules.path_string(path)
    for path, is_fixed in jax.tree.leaves_with_path(
      {"img": {x: fixed["img"][x] for x in unused if x in fixed["img"]}}
    )
    if not is_fixed
  ]
  if free:
    checks.refuse(
      "optimizer.freeze must hold the parameters that a detector does not use,"
      f' by ((r"img/({"|".join(unused)})(/.*)?", True), (r".*", False)), or'
      f' the whole tower, by (r"img/.*", True); got'
      f" {config.optimizer.freeze!r}, which leaves {len(free)} of them, such as"
      f" {free[0]}"
    )


def _shapes(config: config_lib.Config) -> Batch:
  section = config.detection
  num = section.max_boxes
  shapes = {
    "images": ((section.height, section.width, 3), np.uint8),
    "boxes": ((num, 4), np.float32),
    "labels": ((num,), np.int32),
    "mask": ((num,), np.bool_),
  }
  return Batch(
    **{
      name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype)
      for name, (shape, dtype) in shapes.items()
    }
  )
