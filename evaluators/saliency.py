"""Heat maps: the parts of an image that make it like a text.

Four methods, each for any text in words:

- `bands`: FashionCLIP's occlusion. All but one band of the image is greyed out.
- `windows`: sliding occlusion. One square at a time is greyed out; heat is the
  drop of the similarity.
- `attention`: gradient-weighted attention of a transformer image tower.
- `patches`: similarity of each patch's own embedding.

`bands` and `windows` embed some 200 images for one map, with any tower;
`attention` costs one forward and one backward pass, `patches` one forward pass
for all texts. No map is scaled: heat of all but `attention` is in units of
cosine similarity.

Shape letters beside those of models/layers.py: R and G the rows and columns of
the grid of patches, T texts, M crops of one image.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from models import dual_encoder, layers, naflex, vit
from runtime import checks

# Constants of FashionCLIP (arXiv 2204.03972) as its code has them: grey of
# attention_map.py, pixel_size and iterations of FashionCLIP.display_attention.
GREY = 128
CELL = 15
ROUNDS = 5
# Side of the images that CELL is for.
_SIDE = 224

# uint8 [n, H, W, 3] -> float32 [n, E] of length 1.
EmbedFn = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Heat:
  """Maps of one image by occlusion.

  Attributes:
    map_TYX: float32 [T, H, W], in units of cosine similarity.
    sim_T: similarity of the whole image to each text.
    sim_MT: similarities of the crops, the parts of which are greyed out.
  """

  map_TYX: np.ndarray
  sim_T: np.ndarray
  sim_MT: np.ndarray


def cell_of(height: int, width: int) -> int:
  """Return FashionCLIP's distance of lines for an image of any size.

  It is 15 for 224 x 224 pixels, and else in proportion to the root of the area.

  >>> cell_of(224, 224), cell_of(64, 64), cell_of(112, 448)
  (15, 4, 15)
  """
  return max(1, round(CELL * math.sqrt(height * width) / _SIDE))


def num_bands(height: int, width: int, cell: int) -> int:
  """Return the number of crops of `bands`, the whole image apart.

  >>> num_bands(224, 224, 15)
  196
  """
  return math.comb(height // cell, 2) + math.comb(width // cell + 1, 2)


def bands(
  embed_fn: EmbedFn,
  image_YXC: np.ndarray,
  ztxt_TE: np.ndarray,
  *,
  cell: int = CELL,
  rounds: int = ROUNDS,
) -> Heat:
  """Return a map for each text, as FashionCLIP's code localises products.

  Bands lie between any two lines of a grid. A pixel's heat is the mean over
  crops of max(0, its similarity there - the whole image's), where a crop that
  has it greyed out counts as similarity 0. Then, `rounds` times, the mean is
  taken off and what is negative set to 0. The code leaves out the bands of rows
  that begin at the top edge, and so does this. It then scales the map to 0 to
  1, which this does not.

  Args:
    embed_fn: function that embeds images; called once.
    image_YXC: uint8 [H, W, 3], as the model takes it.
    ztxt_TE: float32 of length 1.
    cell: distance of the grid's lines, in pixels.
    rounds: how often the mean is taken off.

  Returns:
    Maps of 0 or more; 0 everywhere where no band is more alike than the whole
    image.
  """
  height, width = image_YXC.shape[:2]
  lines_by_axis = _bands(height, cell, 1), _bands(width, cell, 0)
  crops = [image_YXC]
  for axis, lines in enumerate(lines_by_axis):
    for start, stop in lines:
      crop = np.full_like(image_YXC, GREY)
      kept = (slice(None),) * axis + (slice(start, stop),)
      crop[kept] = image_YXC[kept]
      crops.append(crop)
  sim_MT = embed_fn(np.stack(crops)) @ ztxt_TE.T
  # A pixel is in a band of rows or not whatever its column: heat is a sum.
  inside_MT = np.maximum(sim_MT - sim_MT[0], 0)
  outside_T = np.maximum(-sim_MT[0], 0)
  by_axis, first = [], 1
  for length, lines in zip((height, width), lines_by_axis, strict=True):
    heat_TL = np.zeros((len(ztxt_TE), length))
    for number, (start, stop) in enumerate(lines, first):
      heat_TL += outside_T[:, None]
      heat_TL[:, start:stop] += (inside_MT[number] - outside_T)[:, None]
    by_axis.append(heat_TL)
    first += len(lines)
  heat_TYX = (by_axis[0][:, :, None] + by_axis[1][:, None]) / len(crops)
  for _ in range(rounds):
    mean_T11 = heat_TYX.mean(axis=(1, 2), keepdims=True)
    heat_TYX = np.maximum(heat_TYX - mean_T11, 0)
  return Heat(heat_TYX.astype(np.float32), sim_MT[0], sim_MT[1:])


def band_parts(height: int, width: int, cell: int) -> list[tuple[slice, slice]]:
  """Return the rows and columns of each band of `bands`, in its order."""
  whole = slice(None)
  return [
    *((slice(*band), whole) for band in _bands(height, cell, 1)),
    *((whole, slice(*band)) for band in _bands(width, cell, 0)),
  ]


def _bands(length: int, cell: int, first: int) -> list[tuple[int, int]]:
  """Return start and stop, in pixels, of the bands along one axis."""
  if not 1 <= cell < length / 2:
    raise ValueError(
      "the cell of an occlusion must be at least 1 pixel and less than half"
      f" the image's side of {length}; got {cell}"
    )
  lines = range(first, length // cell + 1)
  return [(i * cell, j * cell) for i in lines for j in lines if i < j]


def windows(
  embed_fn: EmbedFn,
  image_YXC: np.ndarray,
  ztxt_TE: np.ndarray,
  *,
  window: int = 2 * CELL,
  stride: int = CELL,
) -> Heat:
  """Return a map for each text: the drop of similarity without a square.

  A pixel's heat is the mean, over the windows that cover it, of the whole
  image's similarity minus that with the window in grey: below 0 where the image
  is more like the text without the square. Source of the method: Zeiler and
  Fergus (arXiv 1311.2901), section 4.2; grey and stride are FashionCLIP's, the
  window is two strides.

  Args:
    embed_fn: function that embeds images; called once.
    image_YXC: uint8 [H, W, 3], as the model takes it.
    ztxt_TE: float32 of length 1.
    window: side of the square, in pixels.
    stride: distance of two squares, in pixels; the last ones touch the edge.
  """
  height, width = image_YXC.shape[:2]
  checks.between("the window of an occlusion", window, 1, min(height, width))
  checks.between("the stride of an occlusion", stride, 1, window)
  squares = [
    (slice(y, y + window), slice(x, x + window))
    for y in starts(height, window, stride)
    for x in starts(width, window, stride)
  ]
  crops = np.repeat(image_YXC[None], 1 + len(squares), axis=0)
  for crop, square in zip(crops[1:], squares, strict=True):
    crop[square] = GREY
  sim_MT = embed_fn(crops) @ ztxt_TE.T
  heat_TYX = np.zeros((len(ztxt_TE), height, width))
  count_YX = np.zeros((height, width))
  for sim_T, square in zip(sim_MT[1:], squares, strict=True):
    heat_TYX[:, *square] += (sim_MT[0] - sim_T)[:, None, None]
    count_YX[square] += 1
  heat_TYX = (heat_TYX / count_YX).astype(np.float32)
  return Heat(heat_TYX, sim_MT[0], sim_MT[1:])


def starts(length: int, window: int, stride: int) -> list[int]:
  """Return the first pixels of windows that cover an axis."""
  num_steps = math.ceil((length - window) / stride)
  return [min(i * stride, length - window) for i in range(num_steps + 1)]


@functools.partial(jax.jit, static_argnames="num_layers")
def attention(
  model: dual_encoder.DualEncoder,
  images_bYXC: jax.Array,
  ztxt_bE: jax.Array,
  *,
  num_layers: int = 1,
) -> jax.Array:
  """Return each patch's relevance to a text, [b, R, G] of 0 or more.

  Source: Chefer et al., "Generic Attention-model Explainability" (arXiv
  2103.15679), section 3.2, equations 5 and 6: a layer's attention weights times
  the gradient of the logit by them, negatives set to 0, averaged over heads;
  layers are joined as R <- R + A R from the identity on. Their notebook for
  CLIP uses the last layer only, which is the default here. The row of the
  pooling token is read; with pool="gap" the mean of all rows; the weights of an
  attention pool are one layer more, always used.

  Args:
    model: model with image tower "vit" or "naflex", its layers stacked (not
      those of stack.layers_apart).
    images_bYXC: uint8; for "naflex" with sides that are multiples of the patch.
    ztxt_bE: a text's embedding for each image, of length 1.
    num_layers: how many of the last layers to use.

  Raises:
    ValueError: the image tower has no attention, or fewer layers.
  """
  check_attention(model.config)
  tower = model.img
  assert isinstance(tower, vit.ViT | naflex.NaFlex)
  depth = tower.config.depth
  checks.between("the number of layers of a heat map", num_layers, 0, depth)
  size = tower.config.patch_size
  rows, columns = images_bYXC.shape[1] // size, images_bYXC.shape[2] // size
  num_first = int(isinstance(tower, vit.ViT) and tower.config.has_cls)
  num_tokens = num_first + rows * columns
  pool = tower.pool
  if num_layers == 0 and pool is None:
    raise ValueError(
      "the number of layers of a heat map must be at least 1 for a tower"
      " without an attention pool; got 0"
    )
  inputs = {"images": images_bYXC}
  cut = depth - num_layers
  # The towers' own code runs, on copies whose attention is watched.
  x_bSD, _ = jax.lax.scan(
    lambda x_bSD, block: (block(x_bSD), None),
    tower._stem(inputs),
    jax.tree.map(lambda p: p[:cut], tower.blocks),
  )

  def logit(changes: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
    """Return the images' logits in sum, and all weights, for added changes."""
    x, watched = x_bSD, []
    for index, change_bHSS in zip(range(cut, depth), changes, strict=False):
      block = jax.tree.map(lambda p, i=index: p[i], tower.blocks)
      watched.append(_watch(block, change_bHSS))
      x = block(x)
    end = jax.tree.map(lambda p: p, tower)
    if pool is not None:
      watched.append(_watch(end.pool, changes[-1]))
    zimg_bE = end._head(x, inputs).astype(jnp.float32)
    zimg_bE /= jnp.linalg.norm(zimg_bE, axis=-1, keepdims=True)
    cosine = jnp.sum(zimg_bE * ztxt_bE)
    weights = [attn.weights_bHSS for attn in watched]
    return cosine * jnp.exp(model.log_scale[...]), weights

  b, heads = len(images_bYXC), tower.blocks.attn.num_heads
  changes = [jnp.zeros((b, heads, num_tokens, num_tokens))] * num_layers
  if pool is not None:
    changes.append(jnp.zeros((b, pool.attn.num_heads, 1, num_tokens)))
  gradients, weights = jax.grad(logit, has_aux=True)(changes)
  means = [
    jnp.mean(jax.nn.relu(weight_bHSS * slope_bHSS), axis=1)
    for weight_bHSS, slope_bHSS in zip(weights, gradients, strict=True)
  ]
  used_bSS = jnp.broadcast_to(jnp.eye(num_tokens), (b, num_tokens, num_tokens))
  for mean_bSS in means[:num_layers]:
    used_bSS += mean_bSS @ used_bSS
  if pool is not None:
    used_bS = (means[-1] @ used_bSS)[:, 0]
  else:
    used_bS = used_bSS[:, 0] if num_first else jnp.mean(used_bSS, axis=1)
  return used_bS[:, num_first:].reshape(b, rows, columns)


@jax.jit
def patches(
  model: dual_encoder.DualEncoder, images_bYXC: jax.Array, ztxt_TE: jax.Array
) -> jax.Array:
  """Return the similarity of each patch to each text: float32 [b, T, R, G].

  The head of the image tower (its pool, last norm and projection) is applied to
  the last layer's token of each patch alone, as if the image had no other. An
  attention pool over one token gives that token's value. With pool="cls" the
  head was trained on another token.

  Args:
    model: model with image tower "vit" or "naflex".
    images_bYXC: uint8; for "naflex" with sides that are multiples of the patch.
    ztxt_TE: embeddings of texts, of length 1.

  Raises:
    ValueError: the image tower has no patches.
  """
  check_patches(model.config)
  tower = model.img
  assert isinstance(tower, vit.ViT | naflex.NaFlex)
  size = tower.config.patch_size
  rows, columns = images_bYXC.shape[1] // size, images_bYXC.shape[2] // size
  inputs = {"images": images_bYXC}
  x_bSD, _ = jax.lax.scan(
    lambda x_bSD, block: (block(x_bSD), None),
    tower._stem(inputs),
    tower.blocks,
  )
  b, num_tokens, width = x_bSD.shape
  num_first = num_tokens - rows * columns
  alone_n1D = x_bSD[:, num_first:].reshape(-1, 1, width)
  z_nE = tower._head(alone_n1D, inputs).astype(jnp.float32)
  z_nE /= jnp.linalg.norm(z_nE, axis=-1, keepdims=True)
  sim_bRGT = (z_nE @ ztxt_TE.T).reshape(b, rows, columns, -1)
  return jnp.moveaxis(sim_bRGT, -1, 1)


class _Watched:
  """Attention that keeps its weights, and adds a change to them."""

  def __init__(self, attn: layers.Attention, change_bHSS: jax.Array):
    self.attn = attn
    self.change_bHSS = change_bHSS
    self.weights_bHSS = change_bHSS

  def __call__(
    self, x_bSD: jax.Array, keys_bSD: jax.Array | None = None, **masks
  ) -> jax.Array:
    """Return what layers.Attention does for x and keys, without a mask."""
    assert not any(masks.values()), "images have no mask"
    keys_bSD = x_bSD if keys_bSD is None else keys_bSD
    query, key, value = (
      self.attn._split_heads(y)
      for y in (
        self.attn.query(x_bSD),
        self.attn.key(keys_bSD),
        self.attn.value(keys_bSD),
      )
    )
    logits_bHSS = jnp.einsum(
      "bhqk,bhsk->bhqs", query, key, preferred_element_type=jnp.float32
    )
    logits_bHSS *= query.shape[-1] ** -0.5
    self.weights_bHSS = jax.nn.softmax(logits_bHSS, axis=-1)
    weights_bHSS = (self.weights_bHSS + self.change_bHSS).astype(value.dtype)
    y_bHSK = jnp.einsum("bhqs,bhsk->bhqk", weights_bHSS, value)
    y_bSHK = y_bHSK.swapaxes(1, 2)
    return self.attn.out(y_bSHK.reshape(*x_bSD.shape[:2], -1))


def _watch(module: Any, change_bHSS: jax.Array) -> _Watched:
  """Replace a module's attention by a watched one, and return that."""
  watched = _Watched(module.attn, change_bHSS)
  module.attn = watched
  return watched


def check_attention(config: dual_encoder.ModelConfig) -> None:
  """Raise ValueError where `attention` cannot explain a model's images."""
  _check_transformer(config, "attention")


def check_patches(config: dual_encoder.ModelConfig) -> None:
  """Raise ValueError where `patches` cannot explain a model's images."""
  _check_transformer(config, "patches")


def _check_transformer(config: dual_encoder.ModelConfig, method: str) -> None:
  image = config.image
  if not isinstance(image, vit.ViTConfig | naflex.NaFlexConfig):
    raise ValueError(
      f"heat maps by {method} need model.image.tower of vit or naflex; got"
      f" {image.tower if image else 'no image tower'}: occlusion takes any"
    )


def heat_map(
  relevance_RG: np.ndarray, height: int, width: int, patch_size: int
) -> np.ndarray:
  """Return patches' relevance as a map of pixels: float32 [H, W].

  Bilinear between the patches' centres. Pixels at the right and below that fill
  no patch have their neighbours' heat.
  """
  rows, columns = relevance_RG.shape
  image = Image.fromarray(np.asarray(relevance_RG, np.float32))
  heat_YX = np.asarray(
    image.resize(
      (columns * patch_size, rows * patch_size), Image.Resampling.BILINEAR
    )
  )
  missing = (0, height - len(heat_YX)), (0, width - len(heat_YX[0]))
  return np.pad(heat_YX, missing, mode="edge")
