"""Evaluation of a run's newest checkpoint, without training."""

import pathlib

import jax

from evaluators import suite, summary
from inference import model as model_lib
from input_pipeline import ledger, pipeline
from runtime import cluster
from runtime.storage import strict_json
from training import config as config_lib
from training import metrics
from training.run import workdir


def run(
  folder: pathlib.Path,
  config: config_lib.Config | None = None,
  *,
  as_json: bool = False,
) -> int:
  """Evaluate the newest checkpoint of a run; write results.json.

  Args:
    folder: the run's.
    config: to evaluate by another config than the run's own.
    as_json: print JSON instead of a table.

  Raises:
    ValueError: there is no set to evaluate on, or evaluate.holdout holds out
      other images than in the run.
  """
  config, model = model_lib.load_run(folder, config)
  if not (config.evaluate.sets or config.evaluate.holdout):
    raise ValueError(
      "evaluate.sets must have at least one set to evaluate on; got none: give"
      " a --config with sets, as configs/evaluate/emoji.py has them (or train"
      " with evaluate.holdout)"
    )
  metrics.say(f"Evaluating the checkpoint of step {model.step}")

  def load() -> suite.Data:
    if share := config.evaluate.holdout:
      splits = pipeline.split_sources(config.data, share)
      held_out = {name: split.facts() for name, split in splits.items()}
      ledger.check_held_out(folder, held_out)
    return suite.load_data(config.evaluate, config.data, model.make_inputs())

  data = cluster.first_then_all(load)
  embedder = model.make_embedder(config.evaluate.batch_size)
  with jax.set_mesh(model.mesh):
    results = suite.run(data, embedder, model.params)
  if cluster.is_first():
    summary.write_results(folder / workdir.RESULTS, results)
    print(strict_json.dumps(results) if as_json else summary.table(results))
  return 0
