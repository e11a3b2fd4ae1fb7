"""Training steps of tests/tiny.py on random rows, without a run around them."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from runtime import mesh as mesh_lib
from runtime import param_rules
from training import train_state, train_step
from training.objectives import pairs


def batch(config, seed=0):
  """Return arrays as the loader does; labels, some equal, for UniCL."""
  rng = np.random.default_rng(seed)
  size = config.data.image_size
  tokens = rng.integers(
    1, config.data.vocab_size, (config.num_rows_read, config.data.num_tokens)
  )
  rows = {
    "images": rng.integers(
      0, 256, (config.num_rows_read, size, size, 3), np.uint8
    ),
    "tokens": tokens.astype(np.int32),
  }
  if config.loss.needs_labels:
    rows["labels"] = rng.integers(0, 10, config.batch_size, np.int32)
  for name, (shape, dtype) in config.data.views.shapes(size).items():
    rows[name] = rng.integers(0, 256, (config.batch_size, *shape), dtype)
  if config.data.regions.is_on:
    rows |= _targets(config, rng)
  return rows


def _targets(config, rng):
  """Return random targets of a decoder, whose lengths and tasks differ."""
  regions = config.data.regions
  shape = (config.batch_size, *regions.row_shape)
  vocabulary = regions.vocabulary(config.data.vocab_size)
  ids = rng.integers(1, vocabulary.size, shape).astype(np.int32)
  lengths = rng.integers(1, shape[-1], shape[:-1])
  weights = np.arange(shape[-1]) < lengths[..., None]
  return {
    "decoder_tokens": np.roll(ids, 1, axis=-1),
    "decoder_targets": ids,
    "decoder_weights": weights.astype(np.float32),
    "decoder_tasks": rng.integers(0, 3, shape[:-1]).astype(np.int32),
  }


@dataclasses.dataclass(frozen=True)
class Built:
  """A state of step 0, the compiled step, and it with its numbers."""

  state: train_state.TrainState
  compiled: jax.stages.Compiled
  step: Callable
  mesh: jax.sharding.Mesh
  batch_of: Callable = pairs.batch_of

  def run(self, config, num_steps):
    """Return the state after some steps, and their metrics."""
    state, seen = self.state, []
    with jax.set_mesh(self.mesh):
      for step in range(num_steps):
        rows = batch(config, step % 2)
        rows = global_batch(rows, self.mesh, self.batch_of)
        state, metrics = self.step(state, rows)
        seen.append(jax.device_get(metrics))
    return state, seen

  def loss(self, rows):
    """Return the loss of other rows at step 0; the state is used up."""
    state = jax.tree.map(lambda x: x.copy(), self.state)
    with jax.set_mesh(self.mesh):
      rows = global_batch(rows, self.mesh, self.batch_of)
      _, metrics = self.step(state, rows)
    return float(metrics["train/loss"])


def build(config, shape=(1, 1, 1), teacher=None):
  """Compile the step for a mesh of this shape (data, fsdp, tensor).

  Args:
    config: checked.
    shape: devices along each axis of the mesh.
    teacher: arrays of config.curating.teacher; None without.
  """
  mesh = mesh_lib.make_mesh(
    mesh_lib.MeshConfig(*shape), jax.devices()[: int(np.prod(shape))]
  )
  program = train_step.make(config, mesh)
  with jax.set_mesh(mesh):
    state = train_state.init(
      program.init_params,
      program.optimizer,
      program.state,
      0,
      averaged=program.averaged,
    )
    compiled = train_step.compile_step(program, mesh)
    if teacher is not None:
      placed = lambda x, target: jax.device_put(x, target.sharding)  # noqa: E731
      teacher = jax.tree.map(placed, teacher, program.teacher)
    step = train_step.with_numbers(compiled, program, mesh, teacher)
  return Built(state, compiled, step, mesh, program.batch_of)


def global_batch(rows, mesh, batch_of=pairs.batch_of):
  """Return a batch on the devices."""
  return mesh_lib.make_global(batch_of(rows), mesh)


def arrays(tree):
  """Return {path: array}."""
  return {
    param_rules.path_string(path): np.asarray(x)
    for path, x in jax.tree.leaves_with_path(tree)
  }


# Where a gradient is 0 but for rounding (attention does not see a key's bias),
# Adam takes the rounding's sign; a large epsilon keeps it out.
FAST = {
  "optimizer.warmup_steps": 1,
  "optimizer.learning_rate": 0.01,
  "optimizer.epsilon": 0.01,
}
# Tolerance of parameters of size 0.1 after 8 updates. Each is a rate of 0.01
# times a gradient over 0.01, and gradients of size 1 differ by about ten
# roundings of 1e-7 where sums are taken in another order.
ATOL = 2e-5
