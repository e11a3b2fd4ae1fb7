"""Embedding of many images or texts with a model whose arrays lie on a mesh.

Shape letters beside those of models/layers.py: here N counts all rows to embed,
B the rows of one jitted call.
"""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from input_pipeline import evaluation_split
from models import naflex
from runtime import mesh as mesh_lib

EmbedFn = Callable[[Any, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Examples:
  """Embedded images of a split, with the keys and captions of its examples.

  Attributes:
    rows: position of each example in its split.
    keys: key of each example.
    texts: captions of each example in each of its languages, by
      languages.normalised.
    zimg_NE: float32 [N, E] of length 1.
  """

  rows: tuple[int, ...]
  keys: tuple[str, ...]
  texts: tuple[Mapping[str, Sequence[str]], ...]
  zimg_NE: np.ndarray


class Interrupted(Exception):
  """Exception for an embedding that `should_stop` ended early."""


@dataclasses.dataclass(frozen=True)
class Embedder:
  """Functions that embed arrays of any length, in batches of fixed shape."""

  images_fn: EmbedFn
  texts_fn: EmbedFn
  mesh: jax.sharding.Mesh
  batch_size: int
  should_stop: Callable[[], bool] | None = None

  def images(
    self, params: Any, images_NYXC: np.ndarray | naflex.Patches
  ) -> np.ndarray:
    """Embed uint8 images or patches: float32 zimg [N, E] on every host."""
    if isinstance(images_NYXC, naflex.Patches):
      _check(np.asarray(images_NYXC.patches_bNP), np.uint8, 3, "patches")
    else:
      _check(images_NYXC, np.uint8, 4, "images")
    return self._embed(self.images_fn, params, images_NYXC, "image")

  def split(
    self,
    params: Any,
    split: evaluation_split.Split,
    on_fault: evaluation_split.OnFault | None = None,
  ) -> Examples:
    """Embed all images of a split, each batch of them decoded when needed.

    Args:
      params: parameters of the model.
      split: opened examples.
      on_fault: as `evaluation_split.Split.batches` takes it.

    Raises:
      ValueError: an example or an embedding cannot be used.
    """
    keys, texts, numbers = [], [], []

    def images() -> Iterator[Any]:
      for batch in split.batches(self.batch_size, on_fault):
        numbers.extend(batch.rows)
        keys.extend(batch.keys)
        texts.extend(batch.texts)
        rows = batch.images
        # The tower takes NumPy's arrays as well as JAX's, which its types name.
        yield (
          naflex.Patches(*rows)  # pyrefly: ignore[bad-argument-type]
          if isinstance(rows, tuple)
          else rows
        )

    z_BE = list(self.stream(self.images_fn, params, images(), "image"))
    if not z_BE:
      raise ValueError("no image of the split can be used")
    z_NE = np.concatenate(z_BE)
    return Examples(tuple(numbers), tuple(keys), tuple(texts), z_NE)

  def texts(self, params: Any, tokens_NL: np.ndarray) -> np.ndarray:
    """Embed int32 tokens: float32 ztxt [N, E] on every host."""
    _check(tokens_NL, np.int32, 2, "tokens")
    return self._embed(self.texts_fn, params, tokens_NL, "text")

  def stream(
    self,
    fn: EmbedFn,
    params: Any,
    batches: Iterable[Any],
    kind: str,
    *,
    is_checked: bool = True,
  ) -> Iterator[np.ndarray]:
    """Yield float32 rows for each batch of at most `batch_size` rows.

    Args:
      fn: `images_fn` or `texts_fn`.
      params: parameters of the model.
      batches: arrays, or trees of arrays, by row; fetched one batch ahead of
        the devices.
      kind: noun for a row in messages, such as "image".
      is_checked: whether rows must be finite; else the caller checks them.

    Raises:
      ValueError: an embedding is not finite, with `is_checked`.
    """
    sharding = mesh_lib.batch_sharding(self.mesh)
    ahead = None
    done = 0
    for batch in batches:
      if self.should_stop is not None and self.should_stop():
        raise Interrupted(f"stopped after {done} {kind}s")
      with jax.set_mesh(self.mesh):
        z_BE = fn(
          params,
          jax.tree.map(
            lambda x: to_global(_pad(x, self.batch_size), sharding), batch
          ),
        )
      # Fetching one batch late keeps the devices busy, and the queue so short
      # that should_stop is called while work is left.
      if ahead is not None:
        yield _fetched(*ahead, kind if is_checked else None)
      ahead = z_BE, len(jax.tree.leaves(batch)[0])
      done += ahead[1]
    if ahead is not None:
      yield _fetched(*ahead, kind if is_checked else None)

  def _embed(
    self, fn: EmbedFn, params: Any, rows: Any, kind: str
  ) -> np.ndarray:
    num_rows = len(jax.tree.leaves(rows)[0])
    batches = (
      jax.tree.map(operator.itemgetter(slice(start, end)), rows)
      for start in range(0, num_rows, self.batch_size)
      for end in (start + self.batch_size,)
    )
    return np.concatenate(list(self.stream(fn, params, batches, kind)))


def make_embedder(
  embed_images: EmbedFn,
  embed_texts: EmbedFn,
  mesh: jax.sharding.Mesh,
  batch_size: int,
  should_stop: Callable[[], bool] | None = None,
) -> Embedder:
  """Jit both functions so that a batch is split over the mesh.

  Both take (params, batch) and return float32 rows of length 1. `should_stop`
  is called before each batch; it must return the same value on all processes,
  or the others wait for ever in a collective.
  """
  num_shards = mesh_lib.num_batch_shards(mesh)
  if batch_size < 1 or batch_size % num_shards:
    raise ValueError(
      f"evaluate.batch_size is {batch_size}, which is not a multiple of the "
      f"{num_shards} devices (data x fsdp) that a batch is split over"
    )
  # Outputs are replicated, so that each process can read all rows.
  replicated = mesh_lib.replicated(mesh)
  return Embedder(
    images_fn=jax.jit(embed_images, out_shardings=replicated),
    texts_fn=jax.jit(embed_texts, out_shardings=replicated),
    mesh=mesh,
    batch_size=batch_size,
    should_stop=should_stop,
  )


def to_global(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
  """Make a global array of a host array that every process has in full."""
  # Not jax.device_put, which compares the array across processes first. The
  # transfer is intended, but a guard lets only device_put pass as explicit.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.make_array_from_callback(
      array.shape, sharding, lambda index: array[index]
    )


def _fetched(z_BE: jax.Array, num_rows: int, kind: str | None) -> np.ndarray:
  z_NE = jax.device_get(z_BE)[:num_rows].astype(np.float32, copy=False)
  if kind is not None and not np.isfinite(z_NE).all():
    num_bad = int((~np.isfinite(z_NE)).any(axis=1).sum())
    raise ValueError(
      f"{num_bad} of {num_rows} {kind} embeddings are not finite"
    )
  return z_NE


def _pad(rows: np.ndarray, num_rows: int) -> np.ndarray:
  # Copies of the last row: a row of padding tokens only may embed as NaN.
  missing = num_rows - len(rows)
  return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


def _check(rows: np.ndarray, dtype: Any, ndim: int, what: str) -> None:
  if rows.dtype != dtype or rows.ndim != ndim or not len(rows):
    raise ValueError(
      f"{what} must be {np.dtype(dtype).name} of {ndim} dimensions and not "
      f"empty; got {rows.dtype} {rows.shape}"
    )
