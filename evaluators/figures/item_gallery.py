"""Galleries of sets of choices: items with all their images and texts.

The worst items are those of the lowest margin: the lowest similarity of the
right pairs less that of the best wrong pair beside it.

Shape letters: K items, I images and T texts of an item.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.figures import gallery, outcomes
from evaluators.metrics import selection
from evaluators.sets import field_set
from evaluators.sets.disk import items as items_lib


def panels(
  images: gallery.Images,
  opened: field_set.FieldSet,
  embed_texts: outcomes.EmbedTexts,
  num_entries: int,
) -> list[gallery.Panel]:
  """Return a sample of the items, and the worst.

  Args:
    images: all images of the set.
    opened: the set.
    embed_texts: function of the model.
    num_entries: items of a panel.
  """
  listed = items_lib.read(opened.items)
  texts = items_lib.texts(opened.items)
  ztxt_of = dict(zip(texts, embed_texts(texts), strict=True))
  row_of = {key: row for row, key in enumerate(images.keys)}
  sims, right, margins = [], [], []
  for item in listed:
    zimg_IE = images.zimg_NE[[row_of[key] for key in item["images"]]]
    sim_IT = zimg_IE @ np.stack([ztxt_of[text] for text in item["texts"]]).T
    right_IT = np.zeros(sim_IT.shape, bool)
    for t, positions in enumerate(item["right"]):
      right_IT[positions, t] = True
    sims.append(sim_IT)
    right.append(right_IT)
    margins.append(_margin(sim_IT, right_IT))
  margin_K = np.array(margins)
  keys = [str(k) for k in range(len(listed))]
  even, worst = gallery.choose(keys, -margin_K, num_entries, num_entries)

  def answers(item: Mapping[str, Any], k: int) -> list[gallery.Answer]:
    is_cue = sims[k].shape[1] == 1
    return [
      gallery.Answer(
        item["images"][n] if is_cue else item["texts"][n],
        images.image_fn(row_of[item["images"][n]]) if is_cue else None,
        float(sims[k].flat[n]),
        bool(right[k].flat[n]),
      )
      for n in np.argsort(-sims[k].ravel(), kind="stable")
    ]

  def entry(k: int) -> gallery.Entry:
    item, (num_images, num_texts) = listed[k], sims[k].shape
    is_hit = margins[k] > selection.TIE
    badge = {"badge": "right" if is_hit else "wrong", "rank": 2.0 - is_hit}
    tag = str(item.get("tag", ""))
    if min(num_images, num_texts) > 1:
      pictures = [images.image_fn(row_of[key]) for key in item["images"]]
      grid = _grid(item["texts"], pictures, sims[k], right[k])
      nothing = gallery.Answer("", None, 0.0, True)
      return gallery.Entry(
        tag, None, answers=(), right=nothing, grid=grid, **badge
      )
    listed_answers = answers(item, k)
    return gallery.Entry(
      text=item["texts"][0] if num_texts == 1 else tag,
      image_YXC=images.image_fn(row_of[item["images"][0]])
      if num_images == 1
      else None,
      answers=tuple(listed_answers),
      right=next(x for x in listed_answers if x.is_right),
      **badge,
    )

  form = "texts"
  if sims[0].shape[1] == 1:
    form = "images"
  elif sims[0].shape[0] > 1:
    form = "grid"
  return [
    dataclasses.replace(panel, form=form)
    for panel in gallery.by_margin(
      images,
      [entry(k) for k in worst],
      [entry(k) for k in even],
      margins=margin_K[worst],
      num_queries=len(listed),
      num_candidates=0,
      direction="item",
      order="margin",
    )
  ]


def _margin(sim_IT: np.ndarray, right_IT: np.ndarray) -> float:
  """Return the lowest lead of a right pair over a wrong one beside it.

  >>> round(_margin(np.array([[0.3, 0.2], [0.4, 0.5]]), np.eye(2) > 0), 3)
  -0.1
  """
  wrong_IT = np.where(right_IT, -np.inf, sim_IT)
  rivals_IT = np.maximum(
    wrong_IT.max(axis=1, keepdims=True), wrong_IT.max(axis=0, keepdims=True)
  )
  return float((sim_IT - rivals_IT)[right_IT].min())


def _grid(
  texts: Sequence[str],
  pictures: Sequence[np.ndarray | None],
  sim_IT: np.ndarray,
  right_IT: np.ndarray,
) -> gallery.Grid:
  return gallery.Grid(
    tuple(pictures),
    tuple(texts),
    tuple(tuple(map(float, sim_I)) for sim_I in sim_IT.T),
    tuple(
      int(right_I.argmax()) if right_I.any() else -1 for right_I in right_IT.T
    ),
  )
