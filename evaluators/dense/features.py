"""Patch tokens of a frozen image tower, of whole images.

An image is resized to the tower's size as a whole, its shape lost, so that each
pixel of its map is in sight; NaFlex keeps the shape. Tokens are those of the
last layer after the tower's last norm (ViT, NaFlex, Swin), or the last feature
map (ResNet, ConvNeXt, which have no norm of single places there).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evaluators import embedding
from evaluators.dense import dense_set
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops, image_protocols, naflex
from input_pipeline.storage import files
from models import dual_encoder, swin, vit
from models import naflex as naflex_tower
from runtime import mesh as mesh_lib

# Tower -> its tokens.
TOKENS: Mapping[str, str] = {
  "vit": "patch tokens of the last layer after the last norm",
  "naflex": "patch tokens of the last layer after the last norm",
  "swin": "last stage after the last norm",
  "resnet": "last feature map, before attention pooling",
  "convnext": "last feature map, before the mean and the norm",
}


class Grid(NamedTuple):
  """Features of some images.

  Attributes:
    tokens_bND: features of the patches, row by row; those beyond rows x columns
      are padding.
    shapes_b2: int32, rows and columns of each image.
    pooled_bE: embedding of each image, not normalised.
  """

  tokens_bND: Any
  shapes_b2: Any
  pooled_bE: Any

  def rows(self, start: int, stop: int) -> "Grid":
    """Return some of the images."""
    return Grid(*(x[start:stop] for x in self))


def check(config: dual_encoder.ModelConfig, path: str) -> None:
  """Raise ValueError for a model whose image tower has no grid of tokens.

  Args:
    config: config of the model.
    path: path of the model, for the message.
  """
  if config.image is None:
    raise ValueError(f"{path} has no image tower, which dense probes need")
  if config.image.tower not in TOKENS:
    raise ValueError(
      f"{path}: dense probes need a tower with a grid of tokens ("
      f'{", ".join(TOKENS)}); got "{config.image.tower}"'
    )
  if isinstance(config.image, vit.ViTConfig) and config.image.pool == "queries":
    raise ValueError(
      f"{path}: dense probes need tokens after a norm, which a tower that pools"
      " with queries (CoCa's) has only after the pooling"
    )


def whole(protocol: model_inputs.Protocol) -> model_inputs.Protocol:
  """Return an image protocol that leaves no pixel out: both sides are resized.

  A NaFlex protocol is returned unchanged.
  """
  if not isinstance(protocol, image_protocols.Protocol):
    return protocol
  return dataclasses.replace(
    protocol,
    name=f"{protocol.name} (whole image)",
    resize="squash",
    resize_size=protocol.size,
  )


def grid_fn(
  config: dual_encoder.ModelConfig, batch_axes: tuple[str, ...] = ()
) -> Callable[[dual_encoder.Params, Any], Grid]:
  """Return features(params, images), pure: float32 tokens and embeddings.

  Args:
    config: accepted by `check`.
    batch_axes: as in dual_encoder.make_graph.
  """
  graph = dual_encoder.make_graph(config, batch_axes)

  def features(params: dual_encoder.Params, images: Any) -> Grid:
    img: Any = dual_encoder.merge(graph, params).img
    if isinstance(config.image, vit.ViTConfig | naflex_tower.NaFlexConfig):
      pooled_bE, tokens_bND = img.embedding_and_tokens(images)
      if isinstance(images, naflex_tower.Patches):
        shapes_b2 = images.shapes_b2
      else:
        size = config.image.patch_size
        shapes_b2 = _shapes(images, images.shape[1] // size)
    else:
      pooled_bE, x_bYXD = img(images), img.pyramid(images)[-1]
      if isinstance(config.image, swin.SwinConfig):
        x_bYXD = img.norm(x_bYXD)
      shapes_b2 = _shapes(images, *x_bYXD.shape[1:3])
      tokens_bND = x_bYXD.reshape(len(x_bYXD), -1, x_bYXD.shape[-1])
    tokens_bND, pooled_bE = (
      x.astype(jnp.float32) for x in (tokens_bND, pooled_bE)
    )
    return Grid(tokens_bND, shapes_b2.astype(jnp.int32), pooled_bE)

  return features


def _shapes(images: jax.Array, rows: int, columns: int = 0) -> jax.Array:
  shape_2 = jnp.asarray([rows, columns or rows], jnp.int32)
  return jnp.broadcast_to(shape_2, (images.shape[0], 2))


@dataclasses.dataclass(frozen=True)
class Extractor:
  """Features of files, in batches of a fixed size.

  Attributes:
    fn: jitted `grid_fn`, its results on every device.
    params: parameters of the model.
    mesh: devices that batches are split over.
    protocol: image protocol, of `whole`.
    batch_size: images of a batch, a multiple of the devices.
    num_threads: threads that decode.
  """

  fn: Callable[[Any, Any], Grid]
  params: Any
  mesh: jax.sharding.Mesh
  protocol: model_inputs.Protocol
  batch_size: int
  num_threads: int

  def stream(self, items: Sequence[dense_set.Item]) -> Iterator[Grid]:
    """Yield the features of a batch of images after the other.

    Raises:
      ValueError: an image cannot be decoded, or a feature is not finite; the
        message names the file.
    """
    parts = [
      items[start : start + self.batch_size]
      for start in range(0, len(items), self.batch_size)
    ]
    with futures.ThreadPoolExecutor(max(1, self.num_threads)) as pool:
      # Threads decode a batch while the devices embed the one before it.
      ahead = [pool.map(self._input, some) for some in parts[:1]]
      for some, following in zip(parts, [*parts[1:], ()], strict=True):
        inputs = [*ahead.pop()]
        ahead.append(pool.map(self._input, following))
        yield self.embed(inputs, some)

  def embed(
    self, inputs: Sequence[Any], items: Sequence[dense_set.Item]
  ) -> Grid:
    """Return the features of at most `batch_size` inputs of the tower."""
    # Copies of the last image fill the batch.
    missing = self.batch_size - len(inputs)
    images = self._stacked([*inputs, *[inputs[-1]] * missing])
    sharding = mesh_lib.batch_sharding(self.mesh)
    with jax.set_mesh(self.mesh):
      rows = jax.tree.map(lambda x: embedding.to_global(x, sharding), images)
      grid = jax.device_get(self.fn(self.params, rows))
    grid = Grid(*grid).rows(0, len(inputs))
    for item, tokens_ND, pooled_E in zip(
      items, grid.tokens_bND, grid.pooled_bE, strict=True
    ):
      if not (np.isfinite(tokens_ND).all() and np.isfinite(pooled_E).all()):
        raise ValueError(f"{item.image}: its features are not finite")
    return grid

  def most_places(
    self, grid: Grid, shapes: Sequence[tuple[int, int]]
  ) -> tuple[int, int]:
    """Return the most rows and the most columns of tokens of some images.

    Args:
      grid: features of one of the images.
      shapes: height and width of each image.
    """
    protocol = self.protocol
    if not isinstance(protocol, naflex.Protocol):
      rows, columns = (int(x) for x in grid.shapes_b2[0])
      return rows, columns
    size = protocol.patch_size
    resized = [
      naflex.target_size(*shape, size, protocol.max_num_patches)
      for shape in {*shapes}
    ]
    rows, columns = (max(sides) // size for sides in zip(*resized, strict=True))
    return rows, columns

  @property
  def image_side(self) -> int:
    """Side of the tower's images, or of a square of as many pixels."""
    if isinstance(self.protocol, naflex.Protocol):
      side = int(self.protocol.max_num_patches**0.5)
      return side * self.protocol.patch_size
    return self.protocol.size

  def _input(self, item: dense_set.Item) -> Any:
    with faults.located(item.image):
      return self.protocol.apply(image_ops.decode(files.read(item.image)))

  def _stacked(self, inputs: Sequence[Any]) -> Any:
    if not isinstance(self.protocol, naflex.Protocol):
      return np.stack(inputs)
    # The tower takes NumPy's arrays as well as JAX's, which its types name.
    parts = (np.stack(part) for part in zip(*inputs, strict=True))
    return naflex_tower.Patches(*parts)  # pyrefly: ignore[bad-argument-type]


def make_extractor(
  config: dual_encoder.ModelConfig,
  params: Any,
  mesh: jax.sharding.Mesh,
  protocol: model_inputs.Protocol,
  *,
  batch_size: int,
  num_threads: int,
) -> Extractor:
  """Return the extractor of a model's features; arguments as of Extractor."""
  shards = mesh_lib.num_batch_shards(mesh)
  return Extractor(
    fn=_jitted(config, mesh),
    params=params,
    mesh=mesh,
    protocol=whole(protocol),
    batch_size=-(-batch_size // shards) * shards,
    num_threads=num_threads,
  )


@functools.cache
def _jitted(
  config: dual_encoder.ModelConfig, mesh: jax.sharding.Mesh
) -> Callable[[Any, Any], Grid]:
  """Return the compiled function, the same for all sets of a model."""
  return jax.jit(
    grid_fn(config, mesh_lib.BATCH_AXES),
    out_shardings=mesh_lib.replicated(mesh),
  )
