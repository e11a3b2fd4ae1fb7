"""Evaluate a run's newest checkpoint again; write results.json."""

from tasks import cluster_flags, flags

FLAGS = (flags.CONFIG, flags.WORKDIR, flags.JSON, *cluster_flags.FLAGS)


def run() -> int:
  """Run --task=evaluate."""
  return cluster_flags.run_joined(_evaluate)


def _evaluate() -> int:
  from inference import evaluate

  config = flags.config()
  return evaluate.run(flags.workdir(), config, as_json=flags.JSON.value)
