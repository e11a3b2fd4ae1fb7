"""Figures of sets of choices: Winoground, SugarCrepe, WinoGAViL.

Shape letters: K items, I images and T texts of an item.
"""

import jax
import numpy as np

from evaluators import embedding
from evaluators.figures import outcomes
from evaluators.metrics import intervals, selection
from evaluators.sets import field_set
from evaluators.sets.disk import items as items_lib


def of_choices(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the outcome on items, each a choice of images or texts."""
  del mesh
  listed = items_lib.read(opened.items)
  texts = items_lib.texts(opened.items)
  ztxt_ME = embed_texts(texts)
  row_of_text = {text: row for row, text in enumerate(texts)}
  row_of_image = {key: row for row, key in enumerate(examples.keys)}
  for number, item in enumerate(listed, 1):
    for key in item["images"]:
      if key not in row_of_image:
        raise ValueError(
          f"{opened.name}: the image {key} of item {number} cannot be used"
        )
  sims = selection.similarities(
    examples.zimg_NE,
    ztxt_ME,
    [[row_of_image[key] for key in item["images"]] for item in listed],
    [[row_of_text[text] for text in item["texts"]] for item in listed],
  )
  keys = tuple(str(number) for number in range(len(listed)))
  if len(listed[0]["texts"]) == 1:
    score_K = selection.jaccard(
      [sim_IT[:, 0] for sim_IT in sims], [item["right"][0] for item in listed]
    )
    size_K = np.array([len(item["images"]) for item in listed])
    figures = selection.winogavil(score_K, size_K)
    values = {"avg_jaccard_score": score_K}
    chance: dict[str, float] = {}
    bounds = {
      "avg_jaccard_score": intervals.clustered(score_K).tolist(),
    }
    if (is_in := size_K >= 10).any():
      bound = intervals.clustered(score_K[is_in])
      bounds["jaccard_score_10-12"] = bound.tolist()
  else:
    hits = selection.matched(np.stack(sims))
    shape = sims[0].shape
    if shape[0] == 1:  # the image of an item has no other to be told from
      hits = {"accuracy": hits["text"]}
    values = {name: hit_K.astype(float) for name, hit_K in hits.items()}
    figures = {name: float(hit_K.mean()) for name, hit_K in hits.items()}
    expected = selection.matched_chance(*shape)
    chance = {name: expected.get(name, expected["text"]) for name in hits}
    bounds = {
      name: intervals.wilson(int(hit_K.sum()), len(hit_K)).tolist()
      for name, hit_K in hits.items()
    }
  return outcomes.Outcome(
    record={
      "kind": opened.kind,
      "num_items": len(listed),
      **figures,
      "chance": chance,
      "intervals": bounds,
      "protocol": outcomes.protocol(opened)
      | {"ties": f"similarities within {selection.TIE:g}, as wrong"},
    },
    details={},
    items={
      name: outcomes.Items(keys, value_K) for name, value_K in values.items()
    },
  )
