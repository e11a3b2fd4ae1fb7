"""Evaluation of a model on the sets of a config, without training."""

import jax

from evaluators import suite, suite_data, summary
from inference import model as model_lib
from input_pipeline import ledger, pipeline
from runtime import cluster
from runtime.storage import bucket_path, strict_json
from training import config as config_lib
from training import metrics
from training.run import workdir


def run(
  path: str,
  config: config_lib.Config | None = None,
  out: str = "",
  *,
  named_as_run: bool = False,
  as_json: bool = False,
) -> int:
  """Evaluate the model at `path`; write results.json.

  Args:
    path: run or published model, as `model.load` takes it.
    config: its sections `evaluate` and `data` name the sets; None for the
      run's own.
    out: folder to write results.json to; "" for the run's.
    named_as_run: whether `path` must be a run.
    as_json: print JSON instead of a table.

  Raises:
    ValueError: there is no set to evaluate on, nowhere to write, or
      evaluate.holdout holds out other images than in the run.
  """
  is_run = named_as_run or workdir.is_run(bucket_path.make(path))
  if config is None and not is_run:
    raise ValueError(
      f"{path} is a published model: give its sets by --suite or --sets, or by"
      " a --config with evaluate.sets"
    )
  if not out and not is_run:
    raise ValueError("--out is missing: --out=FOLDER of the results")
  if is_run:
    config, model = model_lib.load_run(bucket_path.make(path), config)
    metrics.say(f"Evaluating the checkpoint of step {model.step}")
  else:
    model = model_lib.load(path)
  assert config is not None  # refused above
  if not config.evaluate.has_sets:
    raise ValueError(
      "evaluate.sets must have at least one set to evaluate on; got none: give"
      " a --config with sets, as configs/evaluate/emoji.py has them (or train"
      " with evaluate.holdout)"
    )

  def load() -> suite_data.Data:
    share = config.evaluate.holdout
    if share and is_run:
      splits = pipeline.split_sources(config.data, share)
      held_out = {name: split.facts() for name, split in splits.items()}
      ledger.check_held_out(bucket_path.make(path), held_out)
    return suite_data.load_data(
      config.evaluate, config.data, model.make_inputs(), model.config.dtype
    )

  data = cluster.first_then_all(load)
  embedder = model.make_embedder(config.evaluate.batch_size)
  with jax.set_mesh(model.mesh):
    results = suite.run(data, embedder, model.params)
  if cluster.is_first():
    folder = bucket_path.make(out or path)
    folder.mkdir(parents=True, exist_ok=True)
    summary.write_results(folder / workdir.RESULTS, results)
    print(strict_json.dumps(results) if as_json else summary.table(results))
  return 0
