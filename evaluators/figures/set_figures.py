"""Figures of a model on one set, as functions of its embeddings.

A record has the figures of the set, and beside them

  chance     figures that answers without a look at the images would have
  intervals  {figure: [low, high]}, 95 %; evaluators/metrics/intervals.py
  protocol   all that a figure depends on beside the model

Classes, groups and confused pairs, which are long, are details of their own,
and so is the outcome of each example, which comparisons of two models need.

Shape letters beside those of models/layers.py: N examples, A classes, M texts.
"""

from collections.abc import Callable, Mapping

import jax

from evaluators import embedding
from evaluators.figures import captioned, chosen, classified, outcomes, placed
from evaluators.sets import field_set


def evaluate(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the outcome on a set of any kind of KINDS.

  Raises:
    ValueError: a label or an item of the set cannot be used.
  """
  return KINDS[opened.kind](opened, examples, embed_texts, mesh)


KINDS: Mapping[str, Callable[..., outcomes.Outcome]] = {
  "selection": chosen.of_choices,
  "classification": classified.of_classes,
  "multilabel": classified.of_several_classes,
  "retrieval": captioned.of_captions,
  "faces": classified.of_faces,
  "places": placed.of_places,
}
