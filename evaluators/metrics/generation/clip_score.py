"""CLIPScore and RefCLIPScore of captions (Hessel et al., arXiv 2104.08718).

  CLIPScore      2.5 * max(cos(image, caption), 0), of no reference
  RefCLIPScore   harmonic mean of CLIPScore and max(cos(caption, reference), 0)
                 of the nearest reference

The published figures are those of CLIP ViT-B/32 with "A photo depicts " before
each caption and reference, the space being the released code's. Those of other
embeddings have the model in their name. The released code does not cut off
negative similarities of references, as the paper does; here they are 0.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.metrics import intervals

# Section 3 of the paper.
WEIGHT = 2.5
PROMPT = "A photo depicts "
MODEL = "CLIP ViT-B/32"
CLIP_SCORE, REF_CLIP_SCORE = NAMES = ("CLIPScore", "RefCLIPScore")


def clip_scores(zimg_NE: np.ndarray, zcap_NE: np.ndarray) -> np.ndarray:
  """Return CLIPScore of each image's caption, float64 [N], 0 to 2.5.

  Embeddings of any length are normalised.

  Args:
    zimg_NE: embeddings of images.
    zcap_NE: embeddings of their captions, each after PROMPT.

  Raises:
    ValueError: shapes differ, or an embedding is zero or not finite.

  >>> clip_scores(np.array([[1.0, 0.0], [3, 4]]), np.array([[3.0, 4], [-1, 0]]))
  array([1.5, 0. ])
  """
  if zimg_NE.shape != zcap_NE.shape:
    raise ValueError(
      "captions must have embeddings of the shape of the images'"
      f" {zimg_NE.shape}; got {zcap_NE.shape}"
    )
  cosine_N = (_unit(zimg_NE, "images") * _unit(zcap_NE, "captions")).sum(axis=1)
  return WEIGHT * np.maximum(cosine_N, 0)


def ref_clip_scores(
  zimg_NE: np.ndarray,
  zcap_NE: np.ndarray,
  zref_ME: np.ndarray,
  owner_M: Sequence[int] | np.ndarray,
) -> np.ndarray:
  """Return RefCLIPScore of each image's caption, float64 [N].

  It is 0 where either part is 0.

  Args:
    zimg_NE: embeddings of images.
    zcap_NE: embeddings of their captions.
    zref_ME: embeddings of all references, each after PROMPT.
    owner_M: image of each reference, 0 to N - 1.

  Raises:
    ValueError: as `clip_scores`, or an image has no reference.

  >>> z = np.array([[1.0, 0.0]])
  >>> ref_clip_scores(z, z, np.array([[0.0, 1.0], [3.0, 4.0]]), [0, 0])
  array([0.96774194])
  """
  owner_M = np.asarray(owner_M)
  if len(owner_M) != len(zref_ME):
    raise ValueError(
      f"references must have an image each; got {len(zref_ME)} references and"
      f" {len(owner_M)} images of them"
    )
  absent = np.setdiff1d(np.arange(len(zcap_NE)), owner_M)
  strange = np.setdiff1d(owner_M, np.arange(len(zcap_NE)))
  if len(absent) or len(strange):
    raise ValueError(
      f"references must be of images 0 to {len(zcap_NE) - 1}, at least one of"
      f" each; got none of {absent[:3].tolist()} and some of"
      f" {strange[:3].tolist()}"
    )
  score_N = clip_scores(zimg_NE, zcap_NE)
  zcap_NE = _unit(zcap_NE, "captions")
  cosine_M = (_unit(zref_ME, "references") * zcap_NE[owner_M]).sum(axis=1)
  nearest_N = np.zeros(len(zcap_NE))
  np.maximum.at(nearest_N, owner_M, cosine_M)
  total_N = score_N + nearest_N
  return np.divide(
    2 * score_N * nearest_N,
    total_N,
    out=np.zeros_like(total_N),
    where=total_N > 0,
  )


def record(
  zimg_NE: np.ndarray,
  zcap_NE: np.ndarray,
  zref_ME: np.ndarray | None = None,
  owner_M: Sequence[int] | np.ndarray | None = None,
  *,
  model: str,
  prompt: str = PROMPT,
) -> dict[str, object]:
  """Return mean scores with bootstrap intervals, chance and protocol.

  Chance is the score of each caption with the next image.

  Args:
    zimg_NE: embeddings of images.
    zcap_NE: embeddings of their captions.
    zref_ME: embeddings of all references; None for CLIPScore alone.
    owner_M: image of each reference; None without references.
    model: name of the model; MODEL alone has the published figures' names.
    prompt: text before each caption and reference.

  Raises:
    ValueError: as `ref_clip_scores`, or there are fewer than 2 images.
  """
  if len(zimg_NE) < 2:
    raise ValueError(
      f"scores need at least 2 images, since chance is of another's; got"
      f" {len(zimg_NE)}"
    )
  others_NE = np.roll(zimg_NE, -1, axis=0)
  scores = {CLIP_SCORE: clip_scores(zimg_NE, zcap_NE)}
  chance = {CLIP_SCORE: clip_scores(others_NE, zcap_NE)}
  if zref_ME is not None and owner_M is not None:
    # The caption is that of another image for its references too.
    moved_NE = np.roll(zcap_NE, 1, axis=0)
    scores[REF_CLIP_SCORE] = ref_clip_scores(zimg_NE, zcap_NE, zref_ME, owner_M)
    chance[REF_CLIP_SCORE] = ref_clip_scores(
      zimg_NE, moved_NE, zref_ME, owner_M
    )
  end = "" if (model, prompt) == (MODEL, PROMPT) else f" ({model})"
  return {
    **{f"{name}{end}": float(x.mean()) for name, x in scores.items()},
    "chance": {f"{name}{end}": float(x.mean()) for name, x in chance.items()},
    "intervals": {
      f"{name}{end}": intervals.clustered(x, is_share=False).tolist()
      for name, x in scores.items()
    },
    "protocol": {
      "scorer": model,
      "scorer_prompt": prompt,
      "clip_score": f"{WEIGHT} * max(cosine, 0), arXiv 2104.08718",
    },
  }


def _unit(z_NE: np.ndarray, what: str) -> np.ndarray:
  """Return embeddings of length 1, float64."""
  z_NE = np.asarray(z_NE, np.float64)
  length_N = np.linalg.norm(z_NE, axis=1)
  if not (np.isfinite(length_N) & (length_N > 0)).all():
    row = int(np.flatnonzero(~(np.isfinite(length_N) & (length_N > 0)))[0])
    raise ValueError(
      f"embeddings of {what} must be finite and not zero; row {row} has the"
      f" length {length_N[row]}"
    )
  return z_NE / length_N[:, None]
