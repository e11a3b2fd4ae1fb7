"""NaFlex's lengths on the CPU: a program for each, or the largest with padding.

  python -m benchmarks.naflex_lengths

Each row is a number of patches of SigLIP 2's list (--counts): forward and
backward pass (the gradient of the mean of the embeddings' squares by all
parameters) of a NaFlex tower in float32 on --batch_size images of sides of 200
to 1,000 pixels, drawn from a fixed seed, cut into patches of 16. `seconds` is
the median of a step, `images_per_s` and `patches_per_s` (patches of images, no
padding) are by it, and `padding` is the share of the batch's patches that are
padding. `ratio` compares with images of the same shapes in the one program of
the largest number, whose batch is filled up with padding: the median of the
rounds' ratios, above 1 if a program of its own is faster. All take turns, one
step each. The last row is the mean of a step, each number as often.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from flax import nnx

from benchmarks import rounds
from configs import base
from configs.parts import towers
from input_pipeline.images import naflex as naflex_images
from models import naflex, tower

_PATCH = 16
_COUNTS = flags.DEFINE_list(
  "counts", ["128", "256", "576", "784", "1024"], "Numbers of patches."
)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Images a step.")
_WIDTH = flags.DEFINE_integer("width", 192, "Width; its heads have 64.")
_DEPTH = flags.DEFINE_integer("depth", 2, "Layers.")


def make_tower(width: int, depth: int) -> tuple[nnx.GraphDef, nnx.State]:
  """Return a NaFlex tower without projection, as graph and parameters."""
  config = base.get_config()
  config.data.image_size = 256
  config.data.augmentation.patch_size = _PATCH
  section = towers.naflex(config.data)
  section.update(width=width, depth=depth, num_heads=max(1, width // 64))
  section.update(mlp_width=4 * width, projection=False)
  image = naflex.NaFlexConfig(**section.to_dict())
  settings = tower.Settings(
    embed_dim=width,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
    dtype="float32",
    remat="none",
    remat_chunks=1,
    batch_axes=(),
  )
  return nnx.split(naflex.NaFlex(image, settings, rngs=nnx.Rngs(params=0)))


def make_batch(count: int, length: int, batch_size: int) -> naflex.Patches:
  """Return noise of images that have at most `count` patches of `length`."""
  rng = np.random.default_rng(0)
  sides = rng.integers(200, 1001, (batch_size, 2))
  shapes = [
    naflex_images.target_size(int(y), int(x), _PATCH, count) for y, x in sides
  ]
  pixels = (batch_size, length, 3 * _PATCH**2)
  return naflex.Patches(
    jnp.asarray(rng.integers(0, 256, pixels, np.uint8)),
    jnp.asarray(shapes, jnp.int32) // _PATCH,
  )


def measure(counts: Sequence[int]) -> list[dict]:
  """Return rows of all numbers of patches, and of their mean."""
  graph, params = make_tower(_WIDTH.value, _DEPTH.value)

  @jax.jit
  def gradient(params, batch):
    loss_fn = lambda p: jnp.mean(jnp.square(nnx.merge(graph, p)(batch)))  # noqa: E731
    return jax.value_and_grad(loss_fn)(params)

  def runner(batch: naflex.Patches) -> Callable[[], float]:
    def run() -> float:
      start = time.perf_counter()
      jax.block_until_ready(gradient(params, batch))
      return time.perf_counter() - start

    run()  # compiles, once for each shape
    return run

  size, largest = _BATCH_SIZE.value, max(counts)
  batches = {count: make_batch(count, count, size) for count in counts}
  runners = {str(n): runner(batch) for n, batch in batches.items()}
  runners |= {
    f"{n} padded": runner(make_batch(n, largest, size)) for n in counts
  }
  seconds = rounds.measure(runners, _ROUNDS.value)
  rows = []
  for count, batch in batches.items():
    own, padded = seconds[str(count)], seconds[f"{count} padded"]
    num_patches = int(jnp.sum(jnp.prod(batch.shapes_b2, axis=1)))
    rows.append(_row(str(count), own, padded, num_patches, count * size))
  own, padded = (
    [statistics.mean(x) for x in zip(*made, strict=True)]
    for made in (
      [seconds[str(n)] for n in counts],
      [seconds[f"{n} padded"] for n in counts],
    )
  )
  real = statistics.mean(row["patches_per_s"] * row["seconds"] for row in rows)
  mean = statistics.mean(counts) * size
  return [*rows, _row("mean", own, padded, real, mean)]


def _row(
  name: str,
  own: Sequence[float],
  padded: Sequence[float],
  num_patches: float,
  length: float,
) -> dict:
  """Return the figures of steps and of steps with padding, round by round."""
  taken = statistics.median(own)
  return {
    "patches": name,
    "seconds": taken,
    "images_per_s": _BATCH_SIZE.value / taken,
    "patches_per_s": num_patches / taken,
    "padding": 1 - num_patches / length,
    "ratio": statistics.median(b / a for a, b in zip(own, padded, strict=True)),
  }


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  for row in measure([int(x) for x in _COUNTS.value]):
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
  app.run(main)
