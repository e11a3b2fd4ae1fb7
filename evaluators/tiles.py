"""Counts over the similarities of two sets of embeddings, tile by tile.

Nothing as large as the matrix of similarities is ever held: a device computes
the similarities of one tile of rows and one tile of columns, and adds what
they contribute to a figure of each row and of each column. Both directions of
retrieval thus cost one matrix product.

The figures are the same to the bit for any number of devices and processes:

- a tile's shape and content depend on the sizes of the inputs alone, and one
  device computes it whole, by the same program whatever their number;
- tiles are combined by maxima and by sums of integers, which have no order.

Only devices of another kind, or another version of XLA, may round otherwise.

Shape letters beside those of models/layers.py: R rows, M columns, r and m those
of one tile, K labels of a row or column, T tiles of columns in a chunk.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import P

from evaluators import embedding
from runtime import long_work, progress
from runtime import mesh as mesh_lib

# Similarities of a full tile fill 4 MiB, so that they stay in a core's cache
# between the matrix product and the comparisons.
_TILE = 1024
# Tiles of columns that a device holds at once: 64 MiB of 512 dimensions.
_CHUNK = 32
# Tiles of rows that small inputs are cut into, so that devices share the work;
# a constant, since tiles must not depend on the number of devices.
_LEAST_TILES, _LEAST_ROWS = 8, 64
# Sums of exponentials are whole numbers of this unit at most.
_FIXED_POINT = 2.0**30
# Figure of a row or column that no tile has contributed to.
_EMPTY = {"mass": 0, "best": -np.inf, "count": 0}
# Label of padding; other padding is 0.
_PAD = {"label": -1}


def counts(
  zrow_RE: np.ndarray,
  zcol_ME: np.ndarray,
  *,
  label_RK: np.ndarray,
  label_MK: np.ndarray,
  mesh: jax.sharding.Mesh,
  tie: float,
  reweight: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Count the wrong partners in the way of each row and of each column.

  A row and a column are right for each other if they share a label. A wrong
  partner more similar than the best right one, by more than `tie`, counts 2;
  one within `tie` of it counts 1. NaN counts 2. Without a right partner the
  count has no meaning.

  Args:
    zrow_RE: float32 rows, of length 1 for `reweight`. Every process has all.
    zcol_ME: float32 columns.
    label_RK: integers of each row; a row with fewer labels repeats one.
    label_MK: integers of each column.
    mesh: devices that share the rows.
    tie: largest difference of tied similarities.
    reweight: whether to multiply the similarities of a row by the softmax over
      all rows, and those of a column by the softmax over all columns, each
      times the number of its terms.

  Returns:
    int32 [R] and int32 [M].
  """
  row_tile, col_tile = tile_sizes(len(zrow_RE), len(zcol_ME))
  num_shards = mesh_lib.num_batch_shards(mesh)
  step = row_tile * num_shards
  width = chunk_size(len(zcol_ME))
  split, whole = mesh_lib.batch_sharding(mesh), jax.NamedSharding(mesh, P())
  scale = _FIXED_POINT / (math.e * max(len(zrow_RE), len(zcol_ME)))
  label_RK, label_MK = _numbered(label_RK, label_MK)
  is_mixed = _mixed(label_RK, label_MK, row_tile, col_tile)
  per_row = {"z": zrow_RE, "label": label_RK}
  per_col = {"z": zcol_ME, "label": label_MK}

  def chunk_sweep(
    part: str, cols: slice, figure_R: np.ndarray, bar: progress.Progress
  ) -> np.ndarray:
    """Update figures of the rows in place, return those of the columns."""
    columns = {
      name: embedding.to_global(
        _padded(x[cols], width, _PAD.get(name, 0)), whole
      )
      for name, x in per_col.items()
    }
    figure_m = embedding.to_global(
      np.full(width, _EMPTY[part], figure_R.dtype), whole
    )
    in_chunk = slice(cols.start // col_tile, cols.stop // col_tile)
    ahead = None
    for start in range(0, len(zrow_RE), step):
      rows, first = slice(start, start + step), start // row_tile
      tiles = _visits(
        is_mixed[first : first + num_shards, in_chunk],
        (num_shards, width // col_tile),
      )
      if part == "best" and not tiles["num_mixed"].any():
        continue
      block = {
        name: _padded(x[rows], step, _PAD.get(name, 0))
        for name, x in per_row.items()
      }
      out_r, figure_m = _sweep(
        jax.tree.map(lambda x: embedding.to_global(x, split), block),
        columns,
        jax.tree.map(lambda x: embedding.to_global(x, split), tiles),
        figure_m,
        part=part,
        tie=tie,
        scale=scale,
        mesh=mesh,
      )
      # Fetching one block late keeps the devices busy, and their queue short.
      if ahead is not None:
        _combine(part, figure_R, *ahead)
        bar.advance(len(figure_R[ahead[0]]))
      ahead = rows, out_r
    if ahead is not None:
      _combine(part, figure_R, *ahead)
    return jax.device_get(figure_m)[: len(zcol_ME) - cols.start]

  def sweep(part: str, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    figure_R = np.full(len(zrow_RE), _EMPTY[part], dtype)
    starts = range(0, len(zcol_ME), width)
    total = len(zrow_RE) * len(starts)
    with long_work.progress_line("Ranking", total) as bar:
      figure_M = [
        chunk_sweep(part, slice(start, start + width), figure_R, bar)
        for start in starts
      ]
    return figure_R, np.concatenate(figure_M)

  if reweight:
    # A row's sum is over all columns, and divides what these score with it;
    # and the other way round.
    mass_R, mass_M = sweep("mass", np.int32)
    per_row["shift"] = _log(mass_R / (scale * len(zcol_ME)))
    per_col["shift"] = _log(mass_M / (scale * len(zrow_RE)))
  per_row["best"], per_col["best"] = sweep("best", np.float32)
  return sweep("count", np.int32)


def tile_sizes(num_rows: int, num_columns: int) -> tuple[int, int]:
  """Return rows and columns of a tile, multiples of 8.

  >>> tile_sizes(100_000, 304), tile_sizes(304, 100_000)
  ((1024, 304), (64, 1024))
  """
  spread = min(_LEAST_TILES, math.ceil(num_rows / _LEAST_ROWS))
  num_tiles = max(math.ceil(num_rows / _TILE), spread)
  return _size(num_rows, num_tiles), _size(
    num_columns, math.ceil(num_columns / _TILE)
  )


def chunk_size(num_columns: int) -> int:
  """Return columns of a chunk; equal chunks share one compilation.

  >>> chunk_size(100_000), chunk_size(304)
  (25600, 304)
  """
  _, col_tile = tile_sizes(1, num_columns)
  num_tiles = math.ceil(num_columns / col_tile)
  return col_tile * math.ceil(num_tiles / math.ceil(num_tiles / _CHUNK))


def lower(
  num_rows: int,
  num_columns: int,
  size: int,
  *,
  num_labels: tuple[int, int] = (1, 1),
  mesh: jax.sharding.Mesh,
) -> jax.stages.Lowered:
  """Lower the program that `counts` calls for blocks of rows and chunks.

  Args:
    num_rows: rows in all.
    num_columns: columns in all.
    size: dimensions of an embedding.
    num_labels: labels of a row and of a column.
    mesh: devices, which need not exist.
  """
  row_tile, col_tile = tile_sizes(num_rows, num_columns)
  num_shards, width = mesh_lib.num_batch_shards(mesh), chunk_size(num_columns)
  split, whole = mesh_lib.batch_sharding(mesh), jax.NamedSharding(mesh, P())

  def abstract(sharding: jax.sharding.Sharding, dtype: Any, *shape: int):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  def side(sharding: jax.sharding.Sharding, length: int, labels: int):
    return {
      "z": abstract(sharding, np.float32, length, size),
      "label": abstract(sharding, np.int32, length, labels),
      "best": abstract(sharding, np.float32, length),
    }

  return _sweep.lower(
    side(split, num_shards * row_tile, num_labels[0]),
    side(whole, width, num_labels[1]),
    {
      "order": abstract(split, np.int32, num_shards, width // col_tile),
      "num_mixed": abstract(split, np.int32, num_shards),
      "num_tiles": abstract(split, np.int32, num_shards),
    },
    abstract(whole, np.int32, width),
    part="count",
    tie=0.0,
    scale=1.0,
    mesh=mesh,
  )


def _size(length: int, num_tiles: int) -> int:
  return 8 * math.ceil(length / num_tiles / 8)


def _numbered(*labels: np.ndarray) -> list[np.ndarray]:
  """Return int32 labels 0, 1, ..., equal where those of the arguments are."""
  _, numbers = np.unique(
    np.concatenate([x.ravel() for x in labels]), return_inverse=True
  )
  ends = np.cumsum([x.size for x in labels])[:-1]
  return [
    part.reshape(x.shape).astype(np.int32)
    for part, x in zip(np.split(numbers, ends), labels, strict=True)
  ]


def _padded(array: np.ndarray, multiple: int, value: Any) -> np.ndarray:
  """Pad the first axis to a multiple; an array that has one is not copied."""
  missing = -len(array) % multiple
  if not missing:
    return array
  pad = np.full((missing, *array.shape[1:]), value, array.dtype)
  return np.concatenate([array, pad])


def _log(means: np.ndarray) -> np.ndarray:
  # A sum is 0 or less only where a NaN was in it.
  return np.log(np.maximum(means, 1e-9)).astype(np.float32)


def _combine(
  part: str, figure_R: np.ndarray, rows: slice, out_r: jax.Array
) -> None:
  here = figure_R[rows]
  combine = np.maximum if part == "best" else np.add
  combine(here, jax.device_get(out_r)[: len(here)], out=here)


def _mixed(
  label_RK: np.ndarray, label_MK: np.ndarray, row_tile: int, col_tile: int
) -> np.ndarray:
  """Return the tiles with a right pair or padding, bool [tiles, tiles]."""
  num_rows, num_cols = (
    math.ceil(len(label_RK) / row_tile),
    math.ceil(len(label_MK) / col_tile),
  )
  # Tiles of columns that have a label, those of one label together.
  tile_M = np.arange(len(label_MK)) // col_tile
  pairs = np.unique(label_MK.astype(np.int64) * num_cols + tile_M[:, None])
  label_P, tile_P = np.divmod(pairs, num_cols)
  last = max(label_RK.max(), label_MK.max())
  firsts = np.searchsorted(label_P, np.arange(last + 2))
  is_mixed = np.zeros((num_rows, num_cols), bool)
  for i in range(num_rows):
    labels = np.unique(label_RK[i * row_tile : (i + 1) * row_tile])
    first, num = firsts[labels], firsts[labels + 1] - firsts[labels]
    within = np.arange(num.sum()) - np.repeat(np.cumsum(num) - num, num)
    is_mixed[i, tile_P[np.repeat(first, num) + within]] = True
  is_mixed[-1] |= bool(len(label_RK) % row_tile)
  is_mixed[:, -1] |= bool(len(label_MK) % col_tile)
  return is_mixed


def _visits(
  is_mixed: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
  """Return the tiles of columns that each device visits, in order.

  Labels are compared, and padding is left out, only in tiles that need it:
  these come first in `order` [num_shards, T], and `num_mixed` is their number.
  Tiles of nothing but padding are not among the first `num_tiles`.
  """
  order = np.zeros(shape, np.int32)
  num_mixed, num_tiles = np.zeros((2, shape[0]), np.int32)
  num_rows, num_cols = is_mixed.shape
  order[:num_rows, :num_cols] = np.argsort(~is_mixed, axis=1, kind="stable")
  num_mixed[:num_rows] = is_mixed.sum(axis=1)
  num_tiles[:num_rows] = num_cols
  return {"order": order, "num_mixed": num_mixed, "num_tiles": num_tiles}


@jax.jit(
  static_argnames=("part", "tie", "scale", "mesh"),
  donate_argnames=("total_C",),
)
def _sweep(rows, columns, tiles, total_C, *, part, tie, scale, mesh):
  """Return figures of a block of rows, and those of a chunk of columns so far.

  Args:
    rows: z [B, E], label [B, K], and best [B] and shift [B] for parts that read
      them, one tile of them on each device.
    columns: the same of the C columns of a chunk.
    tiles: result of `_visits`.
    total_C: figures of the columns from earlier blocks.
    part: "mass", sums of exponentials in fixed point; "best", similarities of
      the best right partners; or "count", as `counts` returns.
    tie: as in `counts`.
    scale: fixed point's 1.
    mesh: devices.
  """
  combine = jnp.maximum if part == "best" else jnp.add
  over_devices = jax.lax.pmax if part == "best" else jax.lax.psum

  def shard(rows, columns, tiles, total_C):
    order_T = tiles["order"][0]
    col_tile = len(total_C) // len(order_T)

    def add(i, figures, is_mixed):
      figure_r, figure_C = figures
      first = order_T[i] * col_tile
      cols = jax.tree.map(
        lambda x: jax.lax.dynamic_slice_in_dim(x, first, col_tile), columns
      )
      of_r, of_m = _of_tile(
        part, rows, cols, is_mixed=is_mixed, tie=tie, scale=scale
      )
      now_m = jax.lax.dynamic_slice_in_dim(figure_C, first, col_tile)
      figure_C = jax.lax.dynamic_update_slice_in_dim(
        figure_C, combine(now_m, of_m), first, axis=0
      )
      return combine(figure_r, of_r), figure_C

    figures = tuple(
      jnp.full(length, _EMPTY[part], total_C.dtype)
      for length in (len(rows["z"]), len(total_C))
    )
    figures = jax.lax.pcast(figures, mesh_lib.BATCH_AXES, to="varying")
    num_mixed, num_tiles = tiles["num_mixed"][0], tiles["num_tiles"][0]
    figures = jax.lax.fori_loop(
      0, num_mixed, lambda i, x: add(i, x, is_mixed=True), figures
    )
    if part != "best":
      figures = jax.lax.fori_loop(
        num_mixed, num_tiles, lambda i, x: add(i, x, is_mixed=False), figures
      )
    figure_r, figure_C = figures
    figure_C = over_devices(figure_C, mesh_lib.BATCH_AXES)
    return figure_r, combine(total_C, figure_C)

  split = P(mesh_lib.BATCH_AXES)
  figure_B, total_C = jax.shard_map(
    shard,
    mesh=mesh,
    in_specs=(split, P(), split, P()),
    out_specs=(split, P()),
  )(rows, columns, tiles, total_C)
  # Figures of rows are replicated, so that each process can read all of them.
  return jax.lax.with_sharding_constraint(
    figure_B, jax.NamedSharding(mesh, P())
  ), total_C


def _of_tile(part, rows, cols, *, is_mixed, tie, scale):
  """Return what a tile contributes to its rows, [r], and columns, [m]."""
  sim_rm = jnp.matmul(
    rows["z"], cols["z"].T, precision=jax.lax.Precision.HIGHEST
  )
  right_rm = unused_rm = np.False_  # left out, unless is_mixed
  if is_mixed:
    label_rK, label_mK = rows["label"], cols["label"]
    right_rm = (label_rK[:, None, :, None] == label_mK[:, None]).any((2, 3))
    unused_rm = (label_rK[:, :1] < 0) | (label_mK[:, 0] < 0)
  if part == "mass":
    # The bounds keep what is not a cosine from overflowing.
    mass_rm = jnp.exp(jnp.clip(sim_rm, -1, 1))
    if is_mixed:
      mass_rm = jnp.where(unused_rm, 0, mass_rm)
    return tuple(
      jnp.round(mass_rm.sum(axis) * scale).astype(jnp.int32) for axis in (1, 0)
    )
  # A row's softmax is over rows, for which columns have the divisor.
  row_scores, col_scores = (
    sim_rm * jnp.exp(sim_rm - shift) if shift is not None else sim_rm
    for shift in (
      cols.get("shift"),
      rows["shift"][:, None] if "shift" in rows else None,
    )
  )
  if part == "best":
    return tuple(
      jnp.max(jnp.where(right_rm, scores, -jnp.inf), axis)
      for axis, scores in ((1, row_scores), (0, col_scores))
    )

  def count(gap_rm, axis):
    # Negated, so that a NaN counts against the query and not for it.
    twice_rm = (~(gap_rm <= tie)).astype(jnp.int32) + ~(gap_rm < -tie)
    if is_mixed:
      twice_rm = jnp.where(right_rm | unused_rm, 0, twice_rm)
    return jnp.sum(twice_rm, axis)

  return count(row_scores - rows["best"][:, None], 1), count(
    col_scores - cols["best"], 0
  )
