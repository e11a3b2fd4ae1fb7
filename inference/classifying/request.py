"""Request of classification or calibration: flags, model and labels."""

import dataclasses
import json
import pathlib
from typing import Any

from inference import python_model
from inference.classifying import label_embeddings, scores, sources
from inference.classifying import labels as labels_lib
from runtime import checks
from runtime.storage import bucket_path


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Values of flags that both have; see tasks/classify.py.

  Attributes:
    images: value of --images, or of --calibrate.
    labels: names of labels; () for those of a calibration.
    labels_from: value of --labels, for messages and facts.
    templates, background, columns, truth, out: values of the flags, "" for
      none.
    is_multi: whether each label is decided by itself.
    recursive, batch_size, cache_dir: values of the flags.
  """

  images: str
  labels: tuple[str, ...]
  labels_from: str
  templates: str
  background: str
  columns: str
  truth: str
  out: str
  is_multi: bool
  recursive: bool
  batch_size: int
  cache_dir: str

  def check(self) -> None:
    """Raise ValueError where values do not fit together."""
    checks.at_least("--batch_size", self.batch_size, 1)
    if self.background and not self.is_multi:
      raise ValueError(
        "--background needs --multi_label: without it labels are compared with"
        " each other"
      )

  def texts(self) -> labels_lib.Labels:
    """Return labels with their texts; raises ValueError as `labels` does."""
    if not self.labels:
      raise ValueError(
        '--labels is missing: --labels=FILE with one a line, --labels="a,b", or'
        " --labels=wordnet"
      )
    if len(self.labels) == 1 and not self.is_multi:
      raise ValueError(
        f"--labels={self.labels_from} is one label, which every picture would"
        " get; give several, or --multi_label"
      )
    background = ()
    if self.background:
      background = tuple(labels_lib.listed(self.background, "background"))
    templates = labels_lib.templates(self.templates)
    return labels_lib.Labels(
      self.labels, templates, background, self.labels_from
    )

  def source(self, flag: str) -> sources.Source:
    """Return the pictures; raises as `sources.find` does."""
    return sources.find(
      self.images,
      flag=flag,
      recursive=self.recursive,
      columns=self.columns,
      truth=self.truth,
      is_multi=self.is_multi,
      cache_dir=self.cache_dir,
    )


def model_facts(model: python_model.Model, path: str) -> dict[str, Any]:
  """Return what decides a model's similarities, as values from JSON."""
  facts = {
    "path": path,
    "family": model.loaded.family,
    "step": model.loaded.step,
    "digest": model.digest,
    "loss": model.loss,
    "scale": model.scale,
    "bias": model.bias,
    "inputs": model.loaded.make_inputs().facts(),
  }
  return json.loads(json.dumps(facts))


def make_scorer(
  model: python_model.Model, labels: labels_lib.Labels, cache_dir: str
) -> scores.Scorer:
  """Return labels as embeddings; raises ValueError without a text tower."""
  if labels.background and model.loss == "sigmoid":
    raise ValueError(
      "--background is for models with a softmax loss; this one has a sigmoid"
      " loss, whose probabilities are of each label by itself"
    )
  cache = pathlib.Path(bucket_path.on_disk(cache_dir, "cache"))
  return scores.Scorer(
    zlabel_AE=label_embeddings.embed(model, labels, cache),
    zbackground_BE=model.embed_texts(labels.background),
    scale=model.scale,
    bias=model.bias,
    loss=model.loss,
  )
