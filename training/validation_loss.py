"""Loss of the pairs of a retrieval set, in batches of training's size."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import losses
from evaluators import suite, suite_data
from input_pipeline import languages as languages_lib
from runtime import mesh as mesh_lib
from training import config as config_lib

NAME = "loss"


def make(
  config: config_lib.Config, mesh: jax.sharding.Mesh
) -> Callable[[suite_data.Data, suite.Embeddings, Any], dict[str, float]]:
  """Return a function from embedded sets to their losses by name.

  A set's pairs are its images in order, each with its first text in the first
  of data.languages. They are cut into batches of batch_size, or of as many as
  there are, rounded down to a multiple of the devices that rows are split over;
  the rest is left out. The loss is the mean over batches of config.loss, whose
  negatives are those of training. A set of fewer than two pairs a device has
  none.

  Args:
    config: checked.
    mesh: devices of the run.
  """
  loss_fn = losses.make_loss(config.loss, mesh_lib.BATCH_AXES)
  compiled = jax.jit(
    lambda params, z, labels: loss_fn(
      *z, jnp.exp(params["log_scale"]), params["bias"], labels
    )
  )
  num_shards = mesh_lib.num_batch_shards(mesh)

  def of_pairs(
    zimg_NE: np.ndarray, ztxt_NE: np.ndarray, texts: Sequence[str], params: Any
  ) -> float | None:
    size = min(len(texts), config.batch_size) // num_shards * num_shards
    if size < 2 * num_shards:
      return None
    labels_N = np.unique(texts, return_inverse=True)[1].astype(np.int32)
    rows = np.array(mesh_lib.local_rows(size, mesh))
    values = []
    for start in range(0, len(texts) - size + 1, size):
      part = start + rows
      z, labels_B = mesh_lib.make_global(
        ((zimg_NE[part], ztxt_NE[part]), labels_N[part]), mesh
      )
      with jax.set_mesh(mesh):
        value = compiled(
          params, z, labels_B if config.loss.needs_labels else None
        )
      values.append(float(jax.device_get(value)))
    return float(np.mean(values))

  def of_sets(
    data: suite_data.Data,
    embeddings: suite.Embeddings,
    variables: Mapping[str, Any],
  ) -> dict[str, float]:
    params = {name: variables[name] for name in ("log_scale", "bias")}
    code = languages_lib.normalised(data.languages[0])
    found = {}
    for name, section in data.retrieval_sets.items():
      examples = embeddings.examples[section.key]
      first = [texts.get(code, ("",))[0] for texts in examples.texts]
      kept = [row for row, text in enumerate(first) if text]
      texts = [first[row] for row in kept]
      if not texts:
        continue
      value = of_pairs(
        examples.zimg_NE[kept], embeddings.texts(texts), texts, params
      )
      if value is not None:
        found[name] = value
    return found

  return of_sets
