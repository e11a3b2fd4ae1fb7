"""Cross-entropy over a large vocabulary, block by block.

Logits [B, L, V] never exist as a whole: 32 GiB in bfloat16 for 1,024 texts of
64 tokens and 256,000 words. A block of them is computed for some tokens and
some words; the backward pass computes it once more, from each token's
normaliser. Value and gradients are those of the plain loss.

Tokens may be split over mesh axes, words over another, and the vectors of
words over a third: a block's vectors are then gathered when it is computed, and
its gradient is summed over devices before the next block.

Shape letters beside those of models/layers.py: T tokens of a device, t tokens
of a block, v words of a block.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import P

from losses import products, softmax

# Label of a token without a loss.
IGNORED = -1
# Tokens and words of a block. With 65,536 tokens of width 768 and 256,000 words
# on a TPU v5e, larger blocks take more memory (benchmarks/vocabulary_loss.py).
BLOCK_TOKENS, BLOCK_WORDS = 1024, 2560


@dataclasses.dataclass(frozen=True)
class Axes:
  """Mesh axes that arrays are split over; the default is one device.

  Attributes:
    rows: axes of the examples, in order; () for one device.
    words: axis of the words, such as "tensor"; None for none.
    width: axis among `rows` of the width of the words' vectors, such as "fsdp";
      None for none.
  """

  rows: tuple[str, ...] = ()
  words: str | None = None
  width: str | None = None

  def __post_init__(self):
    if self.width is not None and self.width not in self.rows:
      raise ValueError(
        f"Axes.width must be among Axes.rows {self.rows}; got {self.width!r}"
      )
    if self.words is not None and self.words in self.rows:
      raise ValueError(
        f"Axes.words must not be among Axes.rows {self.rows}; got"
        f" {self.words!r}"
      )

  @property
  def all(self) -> tuple[str, ...]:
    """Return each axis once."""
    names = (*self.rows, self.words, self.width)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def reference(
  x_BLD: jax.Array,
  table_VD: jax.Array,
  label_BL: jax.Array,
  bias_V: jax.Array | None = None,
) -> jax.Array:
  """Return the loss of each token, float32 [B, L], from all logits at once.

  Args:
    x_BLD: tokens after the decoder, float32 or bfloat16.
    table_VD: vectors of words, used in the type of x_BLD.
    label_BL: int32 word of each token; IGNORED has loss 0.
    bias_V: float32 summand of the logits; None for none.

  >>> x, table = jnp.ones((1, 2, 1)), jnp.array([[0.0], [1.0]])
  >>> [f"{loss:.4f}" for loss in reference(x, table, jnp.array([[1, -1]]))[0]]
  ['0.3133', '0.0000']
  """
  logits_BLV = products.einsum(
    "BLD,VD->BLV", x_BLD, table_VD.astype(x_BLD.dtype)
  )
  if bias_V is not None:
    logits_BLV += bias_V
  own_BL1 = jnp.maximum(label_BL, 0)[..., None]
  own_BL = jnp.take_along_axis(logits_BLV, own_BL1, axis=2)[..., 0]
  loss_BL = jax.nn.logsumexp(logits_BLV, axis=2) - own_BL
  return jnp.where(label_BL == IGNORED, 0.0, loss_BL)


def cross_entropy(
  x_BLD: jax.Array,
  table_VD: jax.Array,
  label_BL: jax.Array,
  bias_V: jax.Array | None = None,
  *,
  axes: Axes = Axes(),
  block_tokens: int = BLOCK_TOKENS,
  block_words: int = BLOCK_WORDS,
) -> jax.Array:
  """Return `reference` in bounded memory: float32 [B, L].

  Its gradients by x_BLD, table_VD and bias_V are exact: products are summed in
  float32, and rounded once to the type of the argument. Beside results it holds
  x_BLD in float32 and one block of logits.

  Args:
    x_BLD: as in `reference`; B is split over axes.rows of the mesh in use.
    table_VD: as in `reference`; split over axes.words and axes.width. A float32
      table is cast block by block.
    label_BL: as in `reference`; split as x_BLD. A label that is no word has the
      loss of a word of logit 0.
    bias_V: as in `reference`; split over axes.words.
    axes: mesh axes of the arrays.
    block_tokens: most tokens of a block on a device.
    block_words: most words of a block on a device.

  >>> x, table = jnp.ones((1, 2, 1)), jnp.array([[0.0], [1.0]])
  >>> losses = cross_entropy(x, table, jnp.array([[1, -1]]), block_words=1)
  >>> [f"{loss:.4f}" for loss in losses[0]]
  ['0.3133', '0.0000']
  """
  for name, size in (("tokens", block_tokens), ("words", block_words)):
    if size < 1:
      raise ValueError(f"block_{name} must be at least 1; got {size}")
  if x_BLD.shape[:2] != label_BL.shape:
    raise ValueError(
      "label_BL must have one word for each token of x_BLD"
      f" {x_BLD.shape[:2]}; got {label_BL.shape}"
    )
  rows, words = P(axes.rows), P(axes.words)
  arguments = (rows, P(axes.words, axes.width), words, rows)
  sizes = {"block_tokens": block_tokens, "block_words": block_words}

  def spread(fn, in_specs, out_specs):
    fn = functools.partial(fn, axes=axes, **sizes)
    if not axes.all:
      return fn
    return jax.shard_map(fn, in_specs=in_specs, out_specs=out_specs)

  # The loss is differentiated outside shard_map, as in losses/sharded.py.
  @jax.custom_vjp
  def loss_fn(*args):
    return forward(*args)[0]

  def forward(*args):
    losses = spread(_losses, arguments, (rows, rows))
    loss_BL, normaliser_BL = losses(*args)
    return loss_BL, (*args, normaliser_BL)

  def backward(residuals, cotangent_BL):
    gradients = spread(_gradients, (*arguments, rows, rows), arguments[:3])
    return *gradients(*residuals, cotangent_BL), None

  loss_fn.defvjp(forward, backward)
  if bias_V is None:
    bias_V = jnp.zeros(table_VD.shape[:1], jnp.float32)
  return loss_fn(x_BLD, table_VD, bias_V, label_BL)


@dataclasses.dataclass(frozen=True)
class _Cut:
  """Rows of an array, cut into blocks of one size.

  If blocks do not divide the rows, the last one overlaps the one before.
  """

  num_rows: int
  block_size: int

  @property
  def size(self) -> int:
    """Return the rows of a block."""
    return min(self.block_size, self.num_rows)

  @property
  def indices(self) -> jax.Array:
    """Return the number of each block."""
    return jnp.arange(-(-self.num_rows // self.size))

  def start(self, index: jax.Array) -> jax.Array:
    """Return the first row of a block."""
    return jnp.minimum(index * self.size, self.num_rows - self.size)

  def new(self, index: jax.Array) -> jax.Array | None:
    """Return which rows no earlier block has; None if blocks never overlap."""
    if self.num_rows % self.size == 0:
      return None
    return self.start(index) + jnp.arange(self.size) >= index * self.size

  def take(self, index: jax.Array, x: jax.Array) -> jax.Array:
    """Return the rows of a block."""
    return jax.lax.dynamic_slice_in_dim(x, self.start(index), self.size)

  def put(self, index: jax.Array, x: jax.Array, block: jax.Array) -> jax.Array:
    """Return the array with the block's new rows in place of its own."""
    is_new = self.new(index)
    if is_new is not None:
      is_new = is_new.reshape(-1, *(1,) * (x.ndim - 1))
      block = jnp.where(is_new, block, self.take(index, x))
    return jax.lax.dynamic_update_slice_in_dim(x, block, self.start(index), 0)


@dataclasses.dataclass(frozen=True)
class _Words:
  """Words of a block, on one device.

  Attributes:
    table_vD: their vectors, of the tokens' type.
    bias_v: their biases.
    ids_v: their numbers in the vocabulary.
    is_new_v: as _Cut.new.
  """

  table_vD: jax.Array
  bias_v: jax.Array
  ids_v: jax.Array
  is_new_v: jax.Array | None

  def logits(self, x_tD: jax.Array) -> jax.Array:
    """Return float32 [t, v], -inf for words of an earlier block."""
    logits_tv = products.einsum("tD,vD->tv", x_tD, self.table_vD) + self.bias_v
    if self.is_new_v is None:
      return logits_tv
    return jnp.where(self.is_new_v, logits_tv, -jnp.inf)

  def is_own(self, label_t: jax.Array) -> jax.Array:
    """Return bool [t, v], whether a token's label is a word."""
    is_own_tv = label_t[:, None] == self.ids_v
    return is_own_tv if self.is_new_v is None else is_own_tv & self.is_new_v


def _losses(x_bLD, table_VD, bias_V, label_bL, *, axes, **sizes):
  """Return the loss and the normaliser of each token, float32 [b, L]."""
  tokens, words = _cuts(x_bLD, table_VD, **sizes)
  x_TD, label_T = x_bLD.reshape(tokens.num_rows, -1), label_bL.reshape(-1)

  def visit_words(state, i):
    block = _words(i, words, table_VD, bias_V, x_TD.dtype, axes)

    def visit_tokens(state, j):
      logits_tv = block.logits(tokens.take(j, x_TD))
      is_own_tv = block.is_own(tokens.take(j, label_T))
      largest_t, total_t, own_t = (tokens.take(j, x_T) for x_T in state)
      new = softmax.add_exp((largest_t, total_t), logits_tv, 1)
      own_t += jnp.sum(logits_tv, axis=1, where=is_own_tv)
      pairs = zip(state, (*new, own_t), strict=True)
      return tuple(tokens.put(j, x_T, x_t) for x_T, x_t in pairs), None

    return jax.lax.scan(visit_tokens, state, tokens.indices)[0], None

  zeros_T = _varying(jnp.zeros(tokens.num_rows), axes.all)
  (largest_T, total_T, own_T), _ = jax.lax.scan(
    visit_words, (zeros_T - jnp.inf, zeros_T, zeros_T), words.indices
  )
  if axes.words is not None:
    local_T, largest_T = largest_T, jax.lax.pmax(largest_T, axes.words)
    total_T = jax.lax.psum(total_T * jnp.exp(local_T - largest_T), axes.words)
    own_T = jax.lax.psum(own_T, axes.words)
  normaliser_T = largest_T + jnp.log(total_T)
  loss_T = jnp.where(label_T == IGNORED, 0.0, normaliser_T - own_T)
  return loss_T.reshape(label_bL.shape), normaliser_T.reshape(label_bL.shape)


def _gradients(
  x_bLD,
  table_VD,
  bias_V,
  label_bL,
  normaliser_bL,
  cotangent_bL,
  *,
  axes,
  **sizes,
):
  """Return the gradients by tokens, table and bias, each of its own type.

  The gradient is written by hand beside the value; the tests over meshes
  (tests/losses/test_vocabulary.py) make this acceptable.
  """
  tokens, words = _cuts(x_bLD, table_VD, **sizes)
  x_TD, label_T = x_bLD.reshape(tokens.num_rows, -1), label_bL.reshape(-1)
  normaliser_T = normaliser_bL.reshape(-1)
  weight_T = jnp.where(label_T == IGNORED, 0.0, cotangent_bL.reshape(-1))

  def visit_words(state, i):
    block = _words(i, words, table_VD, bias_V, x_TD.dtype, axes)

    def visit_tokens(state, j):
      dx_TD, dtable_vD, dbias_v = state
      x_tD, normaliser_t = tokens.take(j, x_TD), tokens.take(j, normaliser_T)
      weight_t = tokens.take(j, weight_T)
      if (is_new_t := tokens.new(j)) is not None:
        weight_t = jnp.where(is_new_t, weight_t, 0.0)
      p_tv = jnp.exp(block.logits(x_tD) - normaliser_t[:, None])
      is_own_tv = block.is_own(tokens.take(j, label_T))
      dlogits_tv = jnp.where(is_own_tv, p_tv - 1, p_tv) * weight_t[:, None]
      factors_tv = dlogits_tv.astype(x_TD.dtype)
      dx_tD = tokens.take(j, dx_TD) + products.einsum(
        "tv,vD->tD", factors_tv, block.table_vD
      )
      # Rows of an earlier block have weight 0: their gradient stays.
      dx_TD = jax.lax.dynamic_update_slice_in_dim(
        dx_TD, dx_tD, tokens.start(j), 0
      )
      dtable_vD += products.einsum("tv,tD->vD", factors_tv, x_tD)
      return (dx_TD, dtable_vD, dbias_v + dlogits_tv.sum(axis=0)), None

    dx_TD, dtable_VD, dbias_V = state
    zeros_vD = _varying(jnp.zeros(block.table_vD.shape), axes.all)
    (dx_TD, dtable_vD, dbias_v), _ = jax.lax.scan(
      visit_tokens, (dx_TD, zeros_vD, zeros_vD[:, 0]), tokens.indices
    )
    dtable_vD, dbias_v = _sum_rows(dtable_vD, dbias_v, axes)
    dtable_VD = words.put(i, dtable_VD, dtable_vD.astype(table_VD.dtype))
    return (dx_TD, dtable_VD, words.put(i, dbias_V, dbias_v)), None

  split = tuple(axis for axis in (axes.words, axes.width) if axis is not None)
  state = (
    _varying(jnp.zeros(x_TD.shape), axes.all),
    _varying(jnp.zeros(table_VD.shape, table_VD.dtype), split),
    _varying(jnp.zeros(bias_V.shape), split[: axes.words is not None]),
  )
  (dx_TD, dtable_VD, dbias_V), _ = jax.lax.scan(
    visit_words, state, words.indices
  )
  if axes.words is not None:
    dx_TD = jax.lax.psum(dx_TD, axes.words)
  dx_bLD = dx_TD.astype(x_bLD.dtype).reshape(x_bLD.shape)
  return dx_bLD, dtable_VD, dbias_V.astype(bias_V.dtype)


def _cuts(x_bLD, table_VD, block_tokens, block_words) -> tuple[_Cut, _Cut]:
  """Return the cuts of the tokens and of the words of a device."""
  b, length, _ = x_bLD.shape
  return _Cut(b * length, block_tokens), _Cut(len(table_VD), block_words)


def _words(index, words, table_VD, bias_V, dtype, axes) -> _Words:
  """Return the words of a block, their vectors gathered over axes.width."""
  table_vD = words.take(index, table_VD).astype(dtype)
  if axes.width is not None:
    table_vD = jax.lax.all_gather(table_vD, axes.width, axis=1, tiled=True)
  shard = 0 if axes.words is None else jax.lax.axis_index(axes.words)
  first = shard * words.num_rows + words.start(index)
  return _Words(
    table_vD,
    words.take(index, bias_V),
    first + jnp.arange(words.size),
    words.new(index),
  )


def _sum_rows(dtable_vD, dbias_v, axes: Axes) -> tuple[jax.Array, jax.Array]:
  """Return the gradients of a block, summed over the devices of all rows.

  That of the vectors is left split over axes.width.
  """
  if not axes.rows:
    return dtable_vD, dbias_v
  dbias_v = jax.lax.psum(dbias_v, axes.rows)
  others = tuple(axis for axis in axes.rows if axis != axes.width)
  if others:
    dtable_vD = jax.lax.psum(dtable_vD, others)
  if axes.width is not None:
    dtable_vD = jax.lax.psum_scatter(
      dtable_vD, axes.width, scatter_dimension=1, tiled=True
    )
  return dtable_vD, dbias_v


def _varying(x: jax.Array, axes: tuple[str, ...]) -> jax.Array:
  """Return an array that may differ between devices along these axes."""
  return jax.lax.pcast(x, axes, to="varying") if axes else x
