"""Compile a config's training step for devices that are not there."""

from absl import flags as absl_flags

from tasks import flags

_TOPOLOGY = absl_flags.DEFINE_string(
  "topology", None, "Devices to compile for, as v5e:16x16 or cpu:8."
)
_NUM_SLICES = absl_flags.DEFINE_integer(
  "num_slices", 1, "Number of slices of --topology that are joined."
)
FLAGS = (flags.CONFIG, flags.WORKDIR, _TOPOLOGY, _NUM_SLICES, flags.JSON)


def run() -> int:
  """Run --task=plan."""
  from training.plan import topology

  # Sets variables that JAX reads when it is imported.
  slices = topology.prepare(_TOPOLOGY.value, _NUM_SLICES.value)
  from training.plan import plan

  config = flags.needed_config(lambda config: plan.check(config, slices))
  folder = flags.workdir() if flags.WORKDIR.value else None
  return plan.run(config, slices, folder, as_json=flags.JSON.value)
