"""Embedding of many images or texts with a model whose arrays lie on a mesh.

Shape letters beside those of models/layers.py: here N counts all rows to embed,
B the rows of one jitted call.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from input_pipeline import evaluation_split, faults
from input_pipeline import left_out as left_out_lib
from models import naflex
from models.video import embedding as video_embedding
from runtime import cluster
from runtime import mesh as mesh_lib

# Examples after which processes agree about those that cannot be used.
_AGREED = 2048

EmbedFn = Callable[[Any, jax.Array], jax.Array]
# Function of a tower of videos to the function that embeds their views.
VideoFn = Callable[[video_embedding.EmbeddingConfig], EmbedFn]


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
  """Functions that embed arrays of any length, in batches of fixed shape.

  Attributes:
    images_fn: function that embeds images.
    texts_fn: function that embeds tokens.
    mesh: devices that batches are split over.
    batch_size: rows of a batch.
    should_stop: function that ends an embedding early; None never does.
    video_fn: function that returns the one for videos; None: none are embedded.
  """

  images_fn: EmbedFn
  texts_fn: EmbedFn
  mesh: jax.sharding.Mesh
  batch_size: int
  should_stop: Callable[[], bool] | None = None
  video_fn: VideoFn | None = None

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
    on_fault: left_out_lib.OnFault | None = None,
    *,
    rows: range | None = None,
    video: video_embedding.EmbeddingConfig | None = None,
  ) -> Examples:
    """Embed images of a split, each batch of them decoded when needed.

    Each process decodes the rows whose devices it has; all return the same.

    Args:
      params: parameters of the model.
      split: opened examples.
      on_fault: called with the position and the error of an example that
        cannot be used, which is left out, on every process.
      rows: positions of the examples; None for all.
      video: tower of a split of videos; None for images.

    Raises:
      ValueError: an example or an embedding cannot be used, or the embedder
        embeds no videos.
      cluster.ClusterError: another process failed to read its examples.
    """
    rows = range(len(split)) if rows is None else rows
    fn = self.images_fn
    if video is not None:
      if self.video_fn is None:
        raise ValueError(f"{split.field}: this embedder embeds no videos")
      fn = self.video_fn(video)
    left_out = left_out_lib.LeftOut(split, rows, on_fault)
    usable: dict[int, tuple[str, Mapping[str, Sequence[str]]]] = {}
    batches = self._local_batches(split, rows, left_out, usable)
    z_BE = list(
      self.stream(
        *(fn, params, batches, "image"),
        is_checked=False,
        is_local=True,
      )
    )
    left_out.end()
    if not usable:
      raise ValueError("no image of the split can be used")
    z_NE = np.concatenate(z_BE)[: len(rows)]
    if len(usable) < len(rows):
      z_NE = z_NE[[rows.index(row) for row in usable]]
    _check_finite(z_NE, "image")
    keys, texts = zip(*usable.values(), strict=True)
    return Examples(tuple(usable), keys, texts, z_NE)

  def _local_batches(
    self,
    split: evaluation_split.Split,
    rows: range,
    left_out: left_out_lib.LeftOut,
    usable: dict[int, tuple[str, Mapping[str, Sequence[str]]]],
  ) -> Iterator[Any]:
    """Yield this process's images of each batch, in the places of their rows.

    All processes agree about examples that cannot be used, and about other
    failures, before the first batch and then every _AGREED examples: a process
    that fails in between goes on with zeros until then, so that none waits.

    Args:
      split: opened examples.
      rows: positions of the examples.
      left_out: takes the examples that cannot be used.
      usable: filled with key and captions of the others, by position.
    """
    places = mesh_lib.local_rows(self.batch_size, self.mesh)
    batches = split.batches(self.batch_size, rows=rows, places=places)
    every = 1 if cluster.count() == 1 else -(-_AGREED // self.batch_size)
    unsent: list[Any] = []
    failure: Exception | None = None
    like: Any = None

    def own() -> list[Any]:
      if failure is not None:
        raise failure
      return unsent

    def agree() -> None:
      read: dict[int, Any] = {}
      broken: dict[int, Any] = {}
      for parts in cluster.gather(own):
        for good, bad in parts:
          read |= {row: named for row, *named in good}
          broken |= {row: fault for row, *fault in bad}
      unsent.clear()
      for row in sorted(read.keys() | broken.keys()):
        if row in broken:
          left_out.add(row, faults.ExampleError(*broken[row]))
        else:
          key, texts = read[row]
          usable[row] = key, {k: tuple(v) for k, v in texts.items()}

    for number, start in enumerate(range(0, len(rows), self.batch_size)):
      images = None
      if failure is None:
        try:
          batch = next(batches)
          images = _placed(batch, rows[start], places)
          unsent.append(_described(batch))
          del batch
        except Exception as error:
          failure = error
      if number % every == 0:
        agree()
      if start + self.batch_size >= len(rows):
        next(batches, None)  # its threads end
      if images is None:
        images = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
      elif like is None:
        like = jax.tree.map(
          lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), images
        )
      yield images
      del images
    agree()

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
    is_local: bool = False,
  ) -> Iterator[np.ndarray]:
    """Yield float32 rows for each batch of at most `batch_size` rows.

    Args:
      fn: `images_fn` or `texts_fn`.
      params: parameters of the model.
      batches: arrays, or trees of arrays, by row; fetched one batch ahead of
        the devices.
      kind: noun for a row in messages, such as "image".
      is_checked: whether rows must be finite; else the caller checks them.
      is_local: whether batches are the `mesh.local_rows` of this process, and
        all `batch_size` rows are yielded; else each is the same, and whole, on
        every process.

    Raises:
      ValueError: an embedding is not finite, with `is_checked`.
    """
    sharding = mesh_lib.batch_sharding(self.mesh)
    ahead = None
    done = 0
    for batch in batches:
      if self.should_stop is not None and self.should_stop():
        raise Interrupted(f"stopped after {done} {kind}s")
      num_rows = len(jax.tree.leaves(batch)[0])
      if is_local:
        num_rows, rows = self.batch_size, mesh_lib.make_global(batch, self.mesh)
      else:
        rows = jax.tree.map(
          lambda x: to_global(_pad(x, self.batch_size), sharding), batch
        )
      with jax.set_mesh(self.mesh):
        z_BE = fn(params, rows)
      # Fetching one batch late keeps the devices busy, and the queue so short
      # that should_stop is called while work is left.
      if ahead is not None:
        yield _fetched(*ahead, kind if is_checked else None)
      ahead = z_BE, num_rows
      done += num_rows
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
  embed_videos: VideoFn | None = None,
) -> Embedder:
  """Jit both functions so that a batch is split over the mesh.

  Both take (params, batch) and return float32 rows of length 1, and so does
  what `embed_videos` returns for a tower of videos. `should_stop` is called
  before each batch; it must return the same value on all processes, or the
  others wait for ever in a collective.
  """
  num_shards = mesh_lib.num_batch_shards(mesh)
  if batch_size < 1 or batch_size % num_shards:
    raise ValueError(
      f"evaluate.batch_size is {batch_size}, which is not a multiple of the "
      f"{num_shards} devices (data x fsdp) that a batch is split over"
    )
  # Outputs are replicated, so that each process can read all rows.
  replicated = mesh_lib.replicated(mesh)
  video_fn = None
  if embed_videos is not None:
    make_fn = embed_videos

    @functools.cache
    def video_fn(video: video_embedding.EmbeddingConfig) -> EmbedFn:
      return jax.jit(make_fn(video), out_shardings=replicated)

  return Embedder(
    images_fn=jax.jit(embed_images, out_shardings=replicated),
    texts_fn=jax.jit(embed_texts, out_shardings=replicated),
    mesh=mesh,
    batch_size=batch_size,
    should_stop=should_stop,
    video_fn=video_fn,
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
  if kind is not None:
    _check_finite(z_NE, kind)
  return z_NE


def _check_finite(z_NE: np.ndarray, kind: str) -> None:
  num_bad = int((~np.isfinite(z_NE)).any(axis=1).sum())
  if num_bad:
    raise ValueError(
      f"{num_bad} of {len(z_NE)} {kind} embeddings are not finite"
    )


def _described(batch: evaluation_split.Batch) -> tuple[list[Any], list[Any]]:
  """Return all but the images, as values that JSON can express."""
  named = zip(batch.rows, batch.keys, batch.texts, strict=True)
  return (
    [(row, key, dict(texts)) for row, key, texts in named],
    [(row, error.kind, str(error)) for row, error in batch.broken.items()],
  )


def _placed(
  batch: evaluation_split.Batch, first: int, places: Sequence[int]
) -> Any:
  """Return images [len(places), ...] with each row at its place.

  Other places have copies of the last image, or zeros.
  """
  at = np.searchsorted(places, np.array(batch.rows, int) - first)

  def place(rows: np.ndarray) -> np.ndarray:
    if len(rows) == len(places):
      return rows
    made = np.zeros((len(places), *rows.shape[1:]), rows.dtype)
    made[:] = rows[-1:] if len(rows) else 0
    made[at] = rows
    return made

  if isinstance(batch.images, tuple):
    # The tower takes NumPy's arrays as well as JAX's, which its types name.
    patches = (place(rows) for rows in batch.images)
    return naflex.Patches(*patches)  # pyrefly: ignore[bad-argument-type]
  return place(batch.images)


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
