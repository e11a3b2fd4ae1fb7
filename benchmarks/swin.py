"""Swin on the CPU: speed beside transformers', compile time of its scans.

  python -m benchmarks.swin --peer_python=.venv-parity/bin/python

The peer's environment is that of requirements-parity.txt. One line of JSON a
row; --parts chooses:

- speed: Swin-T, 8 images of 224 x 224 in float32, forward and backward (the
  gradient of the mean of the pooled tokens' squares by all parameters), on all
  cores that the process may use. The contestants take turns, one step each, so
  that a machine that slows down slows all. The ratio is the median of the
  rounds' ratios, above 1 if ours is faster.
- compile: seconds to trace, lower and compile the same of Swin-B, depths
  (2, 2, 18, 2), with stages scanned as the tower has them and with one block
  after the other. Both, in alternation; the ratio is that of the medians.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from flax import nnx

from benchmarks import rounds
from configs import base
from configs.parts import tower_sizes, towers
from models import swin, tower, windows

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment."
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 7, "Rounds; each contestant makes one step a round.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images a step.")
_PARTS = flags.DEFINE_list("parts", ["speed", "compile"], "Parts to run.")

Embed = Callable[[swin.Swin, jax.Array], jax.Array]


def make_tower(size: str) -> tuple[nnx.GraphDef, nnx.State]:
  """Return a Swin without projection, as graph and shapes of parameters."""
  config = base.get_config()
  config.data.image_size = 224
  section = towers.swin(config.data)
  section.update(tower_sizes.SWIN[size])
  section.projection = False
  image = swin.SwinConfig(**section.to_dict())
  settings = tower.Settings(
    embed_dim=image.widths[-1],
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
    dtype="float32",
    remat="none",
    remat_chunks=1,
    batch_axes=(),
  )
  model = jax.eval_shape(
    lambda: swin.Swin(image, settings, rngs=nnx.Rngs(params=0))
  )
  return nnx.split(model)


def unrolled(model: swin.Swin, images_bYXC: jax.Array) -> jax.Array:
  """Return the tower's features, computed one block after the other."""
  x_bYXC = model.stem(model.settings.normalise(images_bYXC))
  for stage, depth, window in zip(
    model.stages.values(),
    model.config.depths,
    model.config.windows,
    strict=True,
  ):
    if stage.downsample is not None:
      x_bYXC = stage.downsample(x_bYXC)
    _, height, width, _ = x_bYXC.shape
    _, shift = windows.fitted(window, height, width, window // 2)
    for i in range(depth):
      block = jax.tree.map(lambda p, i=i: p[i], stage.blocks)
      x_bYXC = block(x_bYXC, shift=shift if i % 2 else 0)
  return jnp.mean(model.norm(x_bYXC), axis=(1, 2))


def make_gradient(graph: nnx.GraphDef, embed: Embed) -> jax.stages.Wrapped:
  """Return a jitted function of parameters and images."""

  def loss_fn(params, images_bYXC):
    y_bC = embed(nnx.merge(graph, params), images_bYXC)
    return jnp.mean(jnp.square(y_bC))

  return jax.jit(jax.value_and_grad(loss_fn))


def measure_speed() -> Iterable[dict]:
  """Yield rows of both contestants."""
  graph, shapes = make_tower("T")
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: jnp.asarray(0.02 * rng.normal(size=x.shape), x.dtype), shapes
  )
  pixels = rng.integers(0, 256, (_BATCH_SIZE.value, 224, 224, 3), np.uint8)
  images_bYXC = jnp.asarray(pixels)
  gradient = make_gradient(graph, lambda model, x: model(x))
  compiled = gradient.lower(params, images_bYXC).compile()

  def ours() -> float:
    start = time.perf_counter()
    jax.block_until_ready(compiled(params, images_bYXC))
    return time.perf_counter() - start

  ours()
  if not _PEER_PYTHON.value:
    seconds = rounds.measure({"diptych": ours}, _ROUNDS.value)
  else:
    with rounds.peer(
      _PEER_PYTHON.value,
      "swin_transformers.py",
      f"--batch_size={_BATCH_SIZE.value}",
    ) as theirs:
      runners = {"diptych": ours, "transformers": theirs}
      seconds = rounds.measure(runners, _ROUNDS.value)
  peer = seconds.get("transformers")
  for name, taken in seconds.items():
    yield {
      "name": name,
      "seconds": statistics.median(taken),
      # None if there is no peer.
      "ratio": peer
      and statistics.median(b / a for a, b in zip(taken, peer, strict=True)),
    }


def measure_compile() -> Iterable[dict]:
  """Yield seconds of scanned and unrolled stages."""
  graph, shapes = make_tower("B")
  images = jax.ShapeDtypeStruct((_BATCH_SIZE.value, 224, 224, 3), np.uint8)

  def timed(embed: Embed) -> float:
    jax.clear_caches()
    start = time.perf_counter()
    make_gradient(graph, embed).lower(shapes, images).compile()
    return time.perf_counter() - start

  seconds = rounds.measure(
    {
      "scanned": lambda: timed(lambda model, x: model(x)),
      "unrolled": lambda: timed(unrolled),
    },
    min(_ROUNDS.value, 3),
  )
  slowest = statistics.median(seconds["unrolled"])
  for name, taken in seconds.items():
    median = statistics.median(taken)
    yield {"name": name, "seconds": median, "ratio": median / slowest}


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  parts = {"speed": measure_speed, "compile": measure_compile}
  rounds.print_parts(_PARTS.value, parts)


if __name__ == "__main__":
  app.run(main)
