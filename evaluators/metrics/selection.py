"""Selection of the image or the text that belongs, among the few of an item.

Winoground's three scores (arXiv 2204.03162, section 4.1), which SugarCrepe's
accuracy is a case of (one image, two texts), and WinoGAViL's Jaccard index
(arXiv 2207.12576) as DataComp averages it.

Further shape letters: K items, I images and T texts of an item; E the width of
embeddings, N all images and M all texts.
"""

from collections.abc import Sequence

import numpy as np

# Similarities closer than this are tied, as in evaluators/retrieval.py. A tie
# is no choice: it counts against the model.
TIE = 1e-6


def similarities(
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  images: Sequence[Sequence[int]],
  texts: Sequence[Sequence[int]],
) -> list[np.ndarray]:
  """Return float32 [I, T] for each item, from rows of embeddings of length 1.

  Args:
    zimg_NE: embeddings of images.
    ztxt_ME: embeddings of texts.
    images: rows of zimg_NE, for each item.
    texts: rows of ztxt_ME, for each item.
  """
  return [
    zimg_NE[np.asarray(rows)] @ ztxt_ME[np.asarray(columns)].T
    for rows, columns in zip(images, texts, strict=True)
  ]


def matched(sim_KIT: np.ndarray) -> dict[str, np.ndarray]:
  """Return bool [K] by score, for items whose image i belongs to text i.

  "text": each image's own text is the nearest to it; "image": each text's own
  image is; "group": both. Images or texts beyond the shorter side are wrong
  for all, as SugarCrepe's second text is, whose "text" is its accuracy.

  >>> sims = np.array([[[0.3, 0.2], [0.4, 0.5]], [[0.3, 0.2], [0.1, 0.25]]])
  >>> {name: hits.tolist() for name, hits in matched(sims).items()}
  {'text': [True, True], 'image': [False, True], 'group': [False, True]}
  """
  pairs = min(sim_KIT.shape[1:])
  own_KP = np.diagonal(sim_KIT, axis1=1, axis2=2)[:, :pairs]
  hits = {}
  for name, sim_KPX in (
    ("text", sim_KIT[:, :pairs]),
    ("image", sim_KIT.transpose(0, 2, 1)[:, :pairs]),
  ):
    others_KPX = np.where(
      np.eye(pairs, sim_KPX.shape[2], dtype=bool), -np.inf, sim_KPX
    )
    # Not "others < own - TIE": a NaN then counts against the model.
    above_KP = own_KP - others_KPX.max(axis=2) > TIE
    hits[name] = above_KP.all(axis=1)
  return hits | {"group": hits["text"] & hits["image"]}


def matched_chance(num_images: int, num_texts: int) -> dict[str, float]:
  """Return the expected scores of random similarities.

  >>> matched_chance(2, 2)["group"], matched_chance(1, 2)["text"]
  (0.16666666666666666, 0.5)

  "group" is known for items of 2 x 2 (Winoground, 1 / 6), and of one image or
  one text; it is NaN for others.
  """
  pairs = min(num_images, num_texts)
  text, image = (float(1 / n) ** pairs for n in (num_texts, num_images))
  group = 1 / 6 if num_images == num_texts == 2 else float("nan")
  if pairs == 1:
    # One pair is the best of its row and of its column.
    group = 1 / (num_images + num_texts - 1)
  return {"text": text, "image": image, "group": group}


def jaccard(
  sims: Sequence[np.ndarray], right: Sequence[Sequence[int]]
) -> np.ndarray:
  """Return the Jaccard index of each item, float64 [K].

  As many candidates are chosen as are right, those of the highest similarity;
  among equal ones, the wrong come first.

  Args:
    sims: similarity of each candidate to the cue, [I] for each item.
    right: positions of the right candidates, at least one for each item.

  >>> jaccard([np.array([0.9, 0.1, 0.8, 0.2])], [[0, 3]])
  array([0.33333333])
  """
  scores = []
  for sim_I, positions in zip(sims, right, strict=True):
    right_I = np.zeros(len(sim_I), bool)
    right_I[list(positions)] = True
    # NaN is sorted last, as the lowest.
    order = np.lexsort((right_I, np.where(np.isnan(sim_I), np.inf, -sim_I)))
    chosen = order[: len(positions)]
    hits = int(right_I[chosen].sum())
    scores.append(hits / (2 * len(positions) - hits))
  return np.array(scores)


def winogavil(score_K: np.ndarray, size_K: np.ndarray) -> dict[str, float]:
  """Return DataComp's means of `jaccard` by number of candidates.

  Its main metric is the mean over items of 10 and 12 candidates. A group
  without an item is left out.

  >>> winogavil(np.array([0.5, 1.0]), np.array([5, 12]))["jaccard_score_10-12"]
  1.0
  """
  groups = {
    "avg_jaccard_score": size_K > 0,
    **{f"jaccard_score_{n}": size_K == n for n in (5, 6, 10, 12)},
    "jaccard_score_5-6": size_K <= 6,
    "jaccard_score_10-12": size_K >= 10,
  }
  return {
    name: float(score_K[is_in].mean())
    for name, is_in in groups.items()
    if is_in.any()
  }
