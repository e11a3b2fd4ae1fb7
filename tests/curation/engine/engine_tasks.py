"""Functions that the workers of tests run."""

import sys


def opens_a_shard(number):
  del number
  # What the tasks of a curation import, all operators among it.
  from curation import rules
  from curation.engine import shard_pass
  from curation.outputs import signals

  assert signals
  assert shard_pass
  assert rules.OPERATORS
  return "jax" in sys.modules
