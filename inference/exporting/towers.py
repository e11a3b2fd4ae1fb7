"""Towers as functions of their inputs alone, for other programs to run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inference import model as model_lib
from models import dual_encoder, lora, naflex, stack

# Rows of the batch that is compared, and of a smaller one: the axis of the
# batch is symbolic in a program.
_NUM_ROWS = (3, 1)
# Bytes of one FlatBuffer or Protocol Buffer; a part is left for the program.
_MOST_BYTES = 2**31 - 2**24


@dataclasses.dataclass(frozen=True)
class Tower:
  """A tower in float32 whose parameters are constants.

  Attributes:
    name: "image" or "text".
    kind: key of dual_encoder's towers.
    fn: function from a batch to float32 [b, E], rows of L2 norm 1.
    shape: of one input, without the batch.
    dtype: of the input.
    limit: inputs are of 0 to `limit`, exclusive.
  """

  name: str
  kind: str
  fn: Callable[[jax.Array], jax.Array]
  shape: tuple[int, ...]
  dtype: str
  limit: int

  @property
  def input_name(self) -> str:
    """Name of the input in a program."""
    return {"image": "images", "text": "tokens"}[self.name]

  def spec(self) -> jax.ShapeDtypeStruct:
    """Return shape and dtype of an input whose batch is symbolic."""
    batch = jax.export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((*batch, *self.shape), self.dtype)

  def examples(self, num: int) -> np.ndarray:
    """Return random inputs; images have large squares, to be told apart."""
    rng = np.random.default_rng(0)
    if self.name == "text":
      return rng.integers(0, self.limit, (num, *self.shape), self.dtype)
    side = self.shape[0]
    block = max(1, side // 4)
    count = -(-side // block)
    colours = rng.integers(0, self.limit, (num, count, count, 3), self.dtype)
    return colours.repeat(block, 1).repeat(block, 2)[:, :side, :side]

  def difference(
    self, embed: Callable[[np.ndarray], np.ndarray], limit: float
  ) -> float:
    """Return the largest difference of a program's embeddings.

    Args:
      embed: function of the program, from an input to its output.
      limit: largest difference that is allowed.

    Raises:
      ValueError: they differ by more.
    """
    inputs = self.examples(_NUM_ROWS[0])
    with jax.default_matmul_precision("highest"):
      wanted_bE = np.asarray(jax.jit(self.fn)(inputs))
    largest = float(
      np.max(
        [np.abs(embed(inputs[:n]) - wanted_bE[:n]).max() for n in _NUM_ROWS]
      )
    )
    if not largest <= limit:  # NaN is an error too
      raise ValueError(
        f"the {self.name} tower's program gives other embeddings than the"
        f" model: they differ by {largest:.2g}, expected at most {limit:.0e}"
      )
    return largest


def float32(model: model_lib.Model) -> model_lib.Model:
  """Return the model that computes in float32, without low-rank updates."""
  config, params = model.config, jax.device_get(model.params)
  if config.lora.rank:
    params = jax.device_get(lora.merged(params, config.lora))
    config = dataclasses.replace(config, lora=lora.LoraConfig())
  config = dataclasses.replace(config, dtype="float32")
  return dataclasses.replace(model, config=config, params=params)


def make(model: model_lib.Model, num_tokens: int) -> tuple[Tower, ...]:
  """Return the towers of a model of `float32`.

  Args:
    model: its parameters are on the host.
    num_tokens: length of a caption; of 0, the text tower's.

  Raises:
    ValueError: no program can hold a tower; the message names it.
  """
  # Neither layers in a scan nor what is recomputed is in a program: a scan
  # copies each layer's parameters, and compares the size of the batch.
  plain = dataclasses.replace(model.config, remat="none", remat_chunks=1)
  images_fn, texts_fn = dual_encoder.embed_fns(plain)
  apart = stack.layers_apart(jax.tree.map(jnp.asarray, model.params))
  image, text = plain.image, plain.text
  made = []
  if isinstance(image, naflex.NaFlexConfig):
    raise ValueError(
      "the image tower of this model is a naflex, whose inputs are patches of"
      " any shape: no program is written of it; --format=hf is"
    )
  if image is not None:
    _check_size("image", model.params["img"])
    shape = (image.image_size, image.image_size, 3)
    made.append(
      Tower("image", image.tower, _bound(images_fn, apart), shape, "uint8", 256)
    )
  if text is not None:
    _check_size("text", model.params["txt"])
    shape = (num_tokens or text.num_tokens,)
    made.append(
      Tower(
        *("text", text.tower, _bound(texts_fn, apart), shape),
        *("int32", text.vocab_size),
      )
    )
  return tuple(made)


def _bound(
  fn: dual_encoder.EmbedFn, params: Any
) -> Callable[[jax.Array], jax.Array]:
  return lambda inputs: fn(params, inputs)


def _check_size(name: str, params: Any) -> None:
  num_bytes = sum(x.nbytes for x in jax.tree.leaves(params))
  if num_bytes > _MOST_BYTES:
    raise ValueError(
      f"the {name} tower's parameters must be at most 2 GB, those of one file;"
      f" got {num_bytes / 1e9:.1f} GB. --format=hf or open_clip has no limit"
    )
