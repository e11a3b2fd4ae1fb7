"""Evaluation of a run's state during and after training."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from evaluators import embedding, suite, suite_data
from input_pipeline import model_inputs
from models import dual_encoder
from runtime import cluster
from runtime import mesh as mesh_lib
from training import config as config_lib


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Held-out data of a run, and the functions that embed it."""

  data: suite_data.Data
  embedder: embedding.Embedder

  def scalars(self, variables: Any) -> dict[str, float]:
    """Return the figures of an evaluation, by name."""
    return suite.scalars(suite.run(self.data, self.embedder, variables))

  def final(self, variables: Any) -> tuple[suite.Results, Any]:
    """Return the last evaluation's results, and pictures for the report."""
    mesh = self.embedder.mesh
    with jax.set_mesh(mesh):
      embeddings = suite.embed(self.data, self.embedder, variables)
      return (
        suite.score(self.data, embeddings, mesh),
        suite.gallery(self.data, embeddings, mesh),
      )


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  should_stop: Callable[[], bool],
  inputs: model_inputs.ModelInputs,
) -> Evaluator:
  """Open the sources of the evaluation sets; every process calls this."""
  data = cluster.first_then_all(
    lambda: suite_data.load_data(
      config.evaluate, config.data, inputs, config.model.dtype
    )
  )
  embedder = embedding.make_embedder(
    *dual_encoder.embed_fns(config.model, mesh_lib.BATCH_AXES),
    mesh,
    config.evaluate.batch_size,
    should_stop,
  )
  return Evaluator(data, embedder)
