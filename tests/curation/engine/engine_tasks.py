"""Functions that the workers of tests run."""

import sys


def opens_a_shard(number):
  del number
  # Modules that the tasks of a curation import, with all operators.
  from curation import rules
  from curation.engine import shard_pass
  from curation.outputs import signals

  assert signals
  assert shard_pass
  assert rules.OPERATORS
  return "jax" in sys.modules
