"""Evaluation of a model on the sets of a config, without training.

What was embedded stays below data.cache_dir: a second evaluation, by another
config too, embeds what is new alone, and one that was killed goes on.
"""

import dataclasses
import pathlib
from typing import Any

import jax

from evaluators import (
  embedding,
  embedding_cache,
  suite,
  suite_data,
  summary,
)
from evaluators.sets import holdout
from inference import model as model_lib
from input_pipeline import evaluation_split, ledger, pipeline
from runtime import cluster
from runtime.storage import strict_json
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
  is_run = named_as_run or workdir.is_run(pathlib.Path(path))
  if config is None and not is_run:
    raise ValueError(
      f"{path} is a published model: give its sets by --suite or --sets, or by"
      " a --config with evaluate.sets"
    )
  if not out and not is_run:
    raise ValueError("--out is missing: --out=FOLDER of the results")
  if is_run:
    config, model = model_lib.load_run(pathlib.Path(path), config)
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
      ledger.check_held_out(pathlib.Path(path), held_out)
    return suite_data.load_data(
      config.evaluate, config.data, model.make_inputs(), model.config.dtype
    )

  data = cluster.first_then_all(load)
  cache = embedding_cache.Cache(
    folder=pathlib.Path(config.data.cache_dir) / "embeddings",
    model=embedding_cache.model_digest(model.config, model.params),
    inputs=data.inputs,
    embedder=model.make_embedder(config.evaluate.batch_size),
    params=model.params,
  )

  def embed_split(
    source: suite_data.Source, split: evaluation_split.Split
  ) -> embedding.Examples:
    facts = _facts(source, config.data)
    return cache.images(data.name_of(source), split, facts).examples

  with jax.set_mesh(model.mesh):
    embeddings = suite.embed_by(data, embed_split, cache.texts)
    results = suite.score(data, embeddings, model.mesh)
  if cluster.is_first():
    folder = pathlib.Path(out or path)
    folder.mkdir(parents=True, exist_ok=True)
    summary.write_results(folder / workdir.RESULTS, results)
    print(strict_json.dumps(results) if as_json else summary.table(results))
  return 0


def _facts(
  source: suite_data.Source, data: pipeline.DataConfig
) -> dict[str, Any]:
  """Return what the examples of one source depend on beside its files."""
  if isinstance(source, holdout.HeldOut):
    (name,) = source.names
    section = dataclasses.asdict(data.sources[name])
    return {"holdout": source.share, "source": section}
  return dataclasses.asdict(source)
