"""Linear head on tokens, its losses, and one step of its training.

The head is batch norm (or none) and one affine map of each token: a 1 x 1
convolution. Sources: BNHead of DINOv2's dinov2/eval/segmentation and of its
dinov2/eval/depth (arXiv 2304.07193, 7.4).

  segmentation  logits of classes on the grid of tokens, bilinearly enlarged;
                cross-entropy, the mean over pixels of a class
  depth         logits of bins, bilinearly enlarged `upsample` times; relu +
                0.1, divided by their sum, are weights of depths at even
                distances, whose mean is the depth; scale-invariant log loss
                and gradients

The affine map is taken before tokens are enlarged: both are linear in the
places, so the order changes nothing but the cost.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from evaluators.dense import features
from evaluators.dense.maps import VOID

# Weight of a bin whose logit is not above 0 (AdaBins, arXiv 2011.14141, as
# DINOv2's decode_head.py has it).
_FLOOR = 0.1
# Summand of depths in metres in logarithms, and factor of the squared mean, of
# DINOv2's sigloss.py.
_LOG_EPSILON, _MEAN_FACTOR = 1e-3, 0.15
# Strides at which DINOv2's gradientloss.py takes differences of two pixels.
_STRIDES = (1, 2, 4, 6)
_GRADIENT_WEIGHT = 0.5
# Steps whose scale-invariant loss is that of the mean alone (warm_iter).
_MEAN_STEPS = 100
# Momentum of the running statistics, and epsilon of batch norm: PyTorch's.
_MOMENTUM, _NORM_EPSILON = 0.1, 1e-5
# Deviation of the head's first weights: mmsegmentation's of its heads.
_DEVIATION = 0.01
# Bound of the norm of gradients: DINOv2's depth.
MAX_NORM = 35.0


@dataclasses.dataclass(frozen=True)
class Head:
  """Shape of a head and its training, a static argument of compiled functions.

  Attributes:
    is_depth: whether it predicts depths.
    num_out: classes, or bins of depth.
    grid: most rows and most columns of tokens of an image.
    batch_norm: whether tokens are normalised over the batch.
    with_pooled: whether the image's embedding is appended to each token.
    weight_decay: of the affine map's weights.
    upsample: factor by which the grid of a depth head is enlarged.
    min_metres: depth of the first bin.
    max_metres: depth of the last bin.
  """

  is_depth: bool
  num_out: int
  grid: tuple[int, int]
  batch_norm: bool
  with_pooled: bool
  weight_decay: float
  upsample: int = 4
  min_metres: float = 0.0
  max_metres: float = 0.0

  @property
  def optimizer(self) -> optax.GradientTransformation:
    """AdamW with betas 0.9 and 0.999, without its learning rate."""
    return optax.chain(
      optax.clip_by_global_norm(MAX_NORM),
      optax.scale_by_adam(0.9, 0.999),
      optax.add_decayed_weights(self.weight_decay, mask=self._decayed),
    )

  @property
  def _decayed(self) -> dict[str, bool]:
    norm = {"scale": False, "shift": False} if self.batch_norm else {}
    return {"kernel": True, "bias": False, **norm}


def init(head: Head, width: int, key: jax.Array) -> dict[str, Any]:
  """Return the state before the first step.

  Args:
    head: shape of the head.
    width: length of a token, with the embedding where it is appended.
    key: random key of the weights.

  Returns:
    `params`; `stats`, the running mean and variance; `slots` of the optimizer;
    `step`.
  """
  normal = jax.random.normal(key, (width, head.num_out))
  params = {"kernel": _DEVIATION * normal, "bias": jnp.zeros(head.num_out)}
  if head.batch_norm:
    params |= {"scale": jnp.ones(width), "shift": jnp.zeros(width)}
  return {
    "params": params,
    "stats": {"mean": jnp.zeros(width), "var": jnp.ones(width)},
    "slots": head.optimizer.init(params),
    "step": jnp.zeros((), jnp.int32),
  }


@functools.partial(jax.jit, static_argnames="head", donate_argnames="state")
def train_step(
  state: dict[str, Any],
  grid: features.Grid,
  target_bTT: jax.Array,
  rate: jax.Array,
  *,
  head: Head,
) -> tuple[dict[str, Any], jax.Array]:
  """Return the state after one update, and the loss before it.

  Args:
    state: of `init`; it is donated.
    grid: features of a batch of images.
    target_bTT: label of each pixel, VOID for none; or metres, 0 for none.
    rate: learning rate of this step.
    head: shape of the head.
  """

  def loss_fn(params):
    logits_bYXA, stats = _logits(params, state["stats"], grid, head, True)
    return _loss(logits_bYXA, grid, target_bTT, state["step"], head), stats

  grads, (loss, stats) = _grad(loss_fn, state["params"])
  updates, slots = head.optimizer.update(grads, state["slots"], state["params"])
  params = jax.tree.map(lambda p, u: p - rate * u, state["params"], updates)
  step = state["step"] + 1
  return {"params": params, "stats": stats, "slots": slots, "step": step}, loss


def _grad(loss_fn, params):
  (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
  return grads, (loss, stats)


@functools.partial(jax.jit, static_argnames="head")
def predict(
  state: dict[str, Any], grid: features.Grid, *, head: Head
) -> jax.Array:
  """Return logits [b, Y, X, A] of the grid, or depths of the enlarged one.

  Depths are [b, upsample * Y, upsample * X] in metres. Rows and columns beyond
  an image's own are of no use.
  """
  logits_bYXA, _ = _logits(state["params"], state["stats"], grid, head, False)
  if not head.is_depth:
    return logits_bYXA
  return depths(logits_bYXA, grid.shapes_b2, head)


def _logits(
  params: dict[str, jax.Array],
  stats: dict[str, jax.Array],
  grid: features.Grid,
  head: Head,
  is_training: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Return logits on the grid, and new running statistics."""
  x_bND = jnp.asarray(grid.tokens_bND, jnp.float32)
  shapes_b2 = jnp.asarray(grid.shapes_b2)
  if head.with_pooled:
    pooled_b1E = jnp.asarray(grid.pooled_bE, jnp.float32)[:, None]
    shape = (*x_bND.shape[:2], pooled_b1E.shape[-1])
    x_bND = jnp.concatenate([x_bND, jnp.broadcast_to(pooled_b1E, shape)], -1)
  if head.batch_norm:
    if is_training:
      real_bN = jnp.arange(x_bND.shape[1]) < shapes_b2.prod(axis=1)[:, None]
      mean_D, var_D, count = _moments(x_bND, real_bN)
      unbiased_D = var_D * count / jnp.maximum(count - 1, 1)
      stats = {
        name: stats[name] + _MOMENTUM * (new_D - stats[name])
        for name, new_D in (("mean", mean_D), ("var", unbiased_D))
      }
    else:
      mean_D, var_D = stats["mean"], stats["var"]
    x_bND = (x_bND - mean_D) * jax.lax.rsqrt(var_D + _NORM_EPSILON)
    x_bND = x_bND * params["scale"] + params["shift"]
  logits_bNA = x_bND @ params["kernel"] + params["bias"]
  return _unflattened(logits_bNA, shapes_b2, head.grid), stats


def _moments(
  x_bND: jax.Array, real_bN: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Return mean and variance of tokens without padding, and their number."""
  real_bN1 = real_bN[..., None].astype(x_bND.dtype)
  count = real_bN1.sum()
  mean_D = (x_bND * real_bN1).sum(axis=(0, 1)) / count
  square_bND = jnp.square(x_bND - mean_D) * real_bN1
  return mean_D, square_bND.sum(axis=(0, 1)) / count, count


def _unflattened(
  x_bNA: jax.Array, shapes_b2: jax.Array, grid: tuple[int, int]
) -> jax.Array:
  """Return tokens at their places, [b, Y, X, A]; others are of no use."""
  y_Y1, x_1X = jnp.arange(grid[0])[:, None], jnp.arange(grid[1])[None]
  index_bYX = y_Y1 * shapes_b2[:, 1, None, None] + x_1X
  index_bP = jnp.minimum(index_bYX, x_bNA.shape[1] - 1).reshape(len(x_bNA), -1)
  made_bPA = jnp.take_along_axis(x_bNA, index_bP[..., None], axis=1)
  return made_bPA.reshape(len(x_bNA), *grid, -1)


def depths(
  logits_bYXA: jax.Array, shapes_b2: jax.Array, head: Head
) -> jax.Array:
  """Return metres [b, upsample * Y, upsample * X] of logits of bins."""
  factor = head.upsample
  size = factor * head.grid[0], factor * head.grid[1]
  logits = _enlarged(logits_bYXA, shapes_b2, factor * shapes_b2, size)
  weights = jax.nn.relu(logits) + _FLOOR
  bins_A = jnp.linspace(head.min_metres, head.max_metres, head.num_out)
  return (weights @ bins_A) / weights.sum(axis=-1)


def _enlarged(
  x_bYXA: jax.Array,
  shapes_b2: jax.Array,
  new_b2: jax.Array,
  size: tuple[int, int],
) -> jax.Array:
  """Return images of `shapes_b2` in an array at other sizes, bilinearly.

  Args:
    x_bYXA: images in the first rows and columns of an array.
    shapes_b2: rows and columns of each.
    new_b2: rows and columns that each shall have.
    size: rows and columns of the result.
  """
  weights = [
    _weights(
      size[axis], new_b2[:, axis], x_bYXA.shape[1 + axis], shapes_b2[:, axis]
    )
    for axis in (0, 1)
  ]
  x_btXA = jnp.einsum("bty,byxa->btxa", weights[0], x_bYXA)
  return jnp.einsum("bsx,btxa->btsa", weights[1], x_btXA)


def _weights(
  num_out: int, out_b: jax.Array, num_in: int, in_b: jax.Array
) -> jax.Array:
  """Return maps.bilinear(out_b[i], in_b[i]) in [b, num_out, num_in]."""
  centre_bt = (jnp.arange(num_out) + 0.5) * (in_b / out_b)[:, None] - 0.5
  centre_bt = jnp.clip(centre_bt, 0, in_b[:, None] - 1)
  distance_bty = jnp.abs(centre_bt[..., None] - jnp.arange(num_in))
  return jnp.maximum(1 - distance_bty, 0)


def _loss(
  logits_bYXA: jax.Array,
  grid: features.Grid,
  target_bTT: jax.Array,
  step: jax.Array,
  head: Head,
) -> jax.Array:
  side = target_bTT.shape[-1]
  shapes_b2 = jnp.asarray(grid.shapes_b2)
  new_b2 = jnp.full_like(shapes_b2, side)
  size = side, side
  if head.is_depth:
    metres = depths(logits_bYXA, shapes_b2, head)[..., None]
    shapes_b2 = head.upsample * shapes_b2
    metres_bTT = _enlarged(metres, shapes_b2, new_b2, size)[..., 0]
    return depth_loss(metres_bTT, target_bTT.astype(jnp.float32), step)
  return class_loss(_enlarged(logits_bYXA, shapes_b2, new_b2, size), target_bTT)


def class_loss(logits_bTTA: jax.Array, target_bTT: jax.Array) -> jax.Array:
  """Return the mean cross-entropy of pixels of a class; 0 without one.

  >>> float(class_loss(jnp.zeros((1, 1, 2, 4)), jnp.array([[[1, VOID]]])))
  1.3862943649291992
  """
  target_bTT = target_bTT.astype(jnp.int32)
  has_class_bTT = target_bTT != VOID
  nats_bTT = optax.softmax_cross_entropy_with_integer_labels(
    logits_bTTA, jnp.where(has_class_bTT, target_bTT, 0)
  )
  total = jnp.sum(nats_bTT * has_class_bTT)
  return total / jnp.maximum(has_class_bTT.sum(), 1)


def depth_loss(
  metres_bTT: jax.Array, target_bTT: jax.Array, step: jax.Array
) -> jax.Array:
  """Return the scale-invariant log loss and half of that of gradients.

  Differences are of pixels two apart along rows and columns of an image, at
  strides of 1, 2, 4 and 6. (DINOv2's gradientloss.py slices the axes of batch
  and channel, between whose two images of a device there is no difference.)

  Args:
    metres_bTT: predicted depths.
    target_bTT: measured depths, 0 for none.
    step: number of the step: the first 100 take the mean alone.
  """
  real_bTT = target_bTT > 0
  log_bTT = jnp.log(metres_bTT + _LOG_EPSILON)
  off_bTT = (log_bTT - jnp.log(target_bTT + _LOG_EPSILON)) * real_bTT
  count = jnp.maximum(real_bTT.sum(), 2)
  mean = off_bTT.sum() / count
  var = jnp.sum(jnp.square(off_bTT - mean) * real_bTT) / (count - 1)
  square = _MEAN_FACTOR * mean**2 + jnp.where(step < _MEAN_STEPS, 0.0, var)
  # The slope of the root has no bound at 0.
  loss = jnp.sqrt(jnp.maximum(square, 1e-12))
  for stride in _STRIDES:
    off, real = (x[:, ::stride, ::stride] for x in (off_bTT, real_bTT))
    total = jnp.zeros(())
    for ahead, behind in (
      (jnp.s_[:, 2:], jnp.s_[:, :-2]),
      (jnp.s_[:, :, 2:], jnp.s_[:, :, :-2]),
    ):
      both = real[ahead] & real[behind]
      total += jnp.sum(jnp.abs(off[ahead] - off[behind]) * both)
    loss += _GRADIENT_WEIGHT * total / jnp.maximum(real.sum(), 1)
  return loss
