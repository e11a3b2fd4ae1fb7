"""BLEU, CIDEr-D and ROUGE-L beside references by the papers' equations."""

import collections
import math

import numpy as np
import pytest
from pycocoevalcap.bleu import bleu as library_bleu

from evaluators.metrics.generation import overlap

CAPTIONS = [
  "a man rides a wave",
  "two dogs play in the snow",
  "a red bus on a street",
  "a cat",
]
REFERENCES = [
  ["a man riding a wave on a surfboard", "the surfer rides a big wave"],
  ["two dogs are playing in the snow", "dogs play in snow", "two dogs"],
  ["a red bus drives down a street", "a red bus on a road"],
  ["a black cat sits on a red mat", "a cat on a street"],
]


def _grams(text: str, n: int) -> collections.Counter:
  words = text.split()
  return collections.Counter(
    tuple(words[i : i + n]) for i in range(len(words) - n + 1)
  )


def _cider_d(captions, references, sigma=6.0) -> np.ndarray:
  """Return CIDEr-D of each image: arXiv 1411.5726, equations 2 and 5."""
  score_4N = np.zeros((4, len(captions)))
  for n in range(1, 5):
    there = [
      set().union(*(_grams(text, n) for text in some)) for some in references
    ]
    vocabulary = sorted(
      set().union(*there, *(_grams(text, n) for text in captions))
    )
    df_V = np.array(
      [max(1, sum(g in some for some in there)) for g in vocabulary]
    )
    idf_V = np.log(len(captions) / df_V)

    def vector(text, n=n, vocabulary=vocabulary, idf_V=idf_V):
      count = _grams(text, n)
      return np.array([count[gram] for gram in vocabulary]) * idf_V

    for i, (caption, some) in enumerate(zip(captions, references, strict=True)):
      c_V, total = vector(caption), 0.0
      for text in some:
        r_V = vector(text)
        length = np.linalg.norm(c_V) * np.linalg.norm(r_V)
        if length == 0:
          continue
        delta = len(caption.split()) - len(text.split())
        total += (
          math.exp(-(delta**2) / (2 * sigma**2))
          * (np.minimum(c_V, r_V) @ r_V)
          / length
        )
      score_4N[n - 1, i] = 10 * total / len(some)
  return score_4N.mean(axis=0)


def _bleu(captions, references) -> list[float]:
  """Return BLEU-1 to BLEU-4: Papineni et al. (2002), nearest reference."""
  made, product = [], 1.0
  length = sum(len(caption.split()) for caption in captions)
  nearest = sum(
    min(
      (abs(len(text.split()) - len(caption.split())), len(text.split()))
      for text in some
    )[1]
    for caption, some in zip(captions, references, strict=True)
  )
  for n in range(1, 5):
    right, total = 0, 0
    for caption, some in zip(captions, references, strict=True):
      most = collections.Counter()
      for text in some:
        most |= _grams(text, n)
      right += (_grams(caption, n) & most).total()
      total += _grams(caption, n).total()
    product *= right / total
    made.append(product ** (1 / n) * min(1, math.exp(1 - nearest / length)))
  return made


def _rouge(caption, references) -> float:
  """Return ROUGE-L: Lin (2004), the best precision and recall, beta = 1.2."""
  shares = []
  for text in references:
    a, b = caption.split(), text.split()
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
      for j, y in enumerate(b):
        table[i + 1, j + 1] = (
          table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
        )
    shares.append((table[-1, -1] / len(a), table[-1, -1] / len(b)))
  precision, recall = np.max(shares, axis=0)
  return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def test_by_equations():
  judged = overlap.judge(CAPTIONS, REFERENCES)
  # float64 in another order.
  np.testing.assert_allclose(
    judged.cider_N, _cider_d(CAPTIONS, REFERENCES), atol=1e-12
  )
  figures = judged.figures()
  # The library's 1e-9 and 1e-15 in BLEU's quotients move it by less.
  np.testing.assert_allclose(
    [figures[name] for name in overlap.BLEUS],
    _bleu(CAPTIONS, REFERENCES),
    atol=1e-6,
  )
  np.testing.assert_allclose(
    judged.rouge_N, [*map(_rouge, CAPTIONS, REFERENCES)], atol=1e-12
  )
  assert figures["CIDEr"] == pytest.approx(judged.cider_N.mean())
  assert "METEOR" not in figures


def test_by_hand():
  judged = overlap.judge(["a b c d", "e"], [["a b c d"], ["f"]])
  # All n-grams of the first image are right, the one of the second is not.
  # BLEU-4: (4/5 * 1 * 1 * 1)^(1/4); as long as its references.
  figures = judged.figures()
  assert figures["BLEU-1"] == pytest.approx(4 / 5, abs=1e-6)
  assert figures["BLEU-4"] == pytest.approx((4 / 5) ** 0.25, abs=1e-6)
  np.testing.assert_allclose(judged.cider_N, [10, 0])
  np.testing.assert_allclose(judged.rouge_N, [1, 0])


def test_bleu_of_sums_is_the_library_s():
  captions = [*CAPTIONS, "", "x y"]
  references = [*REFERENCES, ["a b"], ["x y z"]]
  judged = overlap.judge(captions, references)
  whole, each = library_bleu.Bleu(4).compute_score(
    dict(enumerate(references)),
    {i: [caption] for i, caption in enumerate(captions)},
    verbose=0,
  )
  got = overlap.bleu(judged.count_NT.sum(axis=0, keepdims=True))[0]
  # The same arithmetic in another order.
  np.testing.assert_allclose(got, whole, rtol=1e-12)
  np.testing.assert_allclose(
    overlap.bleu(judged.count_NT).T, each, rtol=1e-12, atol=1e-300
  )


def test_intervals_are_of_images():
  rng = np.random.default_rng(0)
  words = [f"w{i}" for i in range(12)]
  some = lambda: " ".join(rng.choice(words, 6))  # noqa: E731
  captions = [some() for _ in range(60)]
  references = [[some(), some()] for _ in captions]
  judged = overlap.judge(captions, references)
  bounds, figures = judged.intervals(), judged.figures()
  assert bounds.keys() == figures.keys()
  for name, (low, high) in bounds.items():
    assert low < figures[name] < high
  # Four times the images, each of them four times: half of the width.
  more = overlap.judge(captions * 4, references * 4).intervals()
  for name in ("BLEU-1", "ROUGE-L"):
    ratio = np.ptp(more[name]) / np.ptp(bounds[name])
    assert 0.4 < ratio < 0.6, (name, ratio)
  assert judged.intervals() == bounds


def test_messages():
  with pytest.raises(ValueError, match="at least 2 images.*got 1 captions"):
    overlap.judge(["a"], [["a"]])
  with pytest.raises(ValueError, match="2 captions and references of 1 images"):
    overlap.judge(["a", "b"], [["a"]])
  with pytest.raises(ValueError, match=r"got \['', ''\] of image 1"):
    overlap.judge(["a", "b"], [["a"], ["", ""]])
