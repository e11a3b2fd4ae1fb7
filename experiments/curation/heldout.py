"""Scores of a trained run on held-out icons: retrieval, classification."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from evaluators import directions, zero_shot
from inference import model as model_lib
from input_pipeline import evaluation_split

# Prompts of the classification: the two most common forms of the pool's
# captions (web_noise.py).
TEMPLATES = ("{}", "{} icon")

# Path in the result of `evaluate` -> name in tables. All figures are in percent
# but MEDIAN_RANK, which is better when lower.
METRICS = {
  "retrieval/image_to_text/R@1": "R@1",
  "retrieval/image_to_text/R@5": "R@5",
  "retrieval/image_to_text/R@10": "R@10",
  "retrieval/image_to_text/median_rank": "median rank",
  "zero_shot/mean_per_class": "zero-shot top-1",
  "zero_shot/top_5": "zero-shot top-5",
}
MEDIAN_RANK = "retrieval/image_to_text/median_rank"


def evaluate(folder: pathlib.Path, data: pathlib.Path) -> dict[str, Any]:
  """Score the newest checkpoint of the run in `folder`.

  Args:
    folder: folder of the run.
    data: folder written by prepare_icons.py.
  """
  config, model = model_lib.load_run(folder)
  tokenizer, params = model.make_tokenizer(), model.params
  embedder = model.make_embedder(config.evaluate.batch_size)

  def read(split: str) -> tuple[np.ndarray, list[str]]:
    tar = data / "heldout" / f"{split}.tar"
    source = dataclasses.replace(
      config.data.sources["main"], path=str(tar), subset="", keep=""
    )
    opened = evaluation_split.open_split(
      dataclasses.replace(config.data, cache_dir=str(data / "cache")),
      source,
      name=split,
      section="heldout",
      protocol=model.make_image_protocol(),
    )
    examples = embedder.split(params, opened)
    return examples.zimg_NE, [texts["en"][0] for texts in examples.texts]

  with jax.set_mesh(embedder.mesh):
    zimg_NE, names = read("retrieval")
    ztxt_NE = embedder.texts(params, tokenizer(names))
    owners = range(len(names))  # one caption an image
    results: dict[str, Any] = {
      "retrieval": {
        "num_candidates": len(names),
        **directions.evaluate(
          zimg_NE, ztxt_NE, names, embedder.mesh, owners=owners
        ),
      }
    }
    zimg_NE, names = read("zero_shot")
    classes, label_N = np.unique(names, return_inverse=True)
    prompts = [form.format(name) for name in classes for form in TEMPLATES]
    ztxt_PE = embedder.texts(params, tokenizer(prompts))
    zclass_AE = zero_shot.class_embeddings(ztxt_PE, len(classes))
    results["zero_shot"] = zero_shot.evaluate(
      zimg_NE, zclass_AE, label_N, embedder.mesh
    )
  return results


def metric(results: Mapping[str, Any], path: str) -> float:
  """Return the figure at a path of METRICS, in the unit of tables."""
  value: Any = results
  for name in path.split("/"):
    value = value[name]
  return float(value) if path == MEDIAN_RANK else 100 * float(value)
