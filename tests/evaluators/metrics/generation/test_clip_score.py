"""CLIPScore and RefCLIPScore by hand, and their names."""

import numpy as np
import pytest

from evaluators.metrics.generation import clip_score

IMAGES = np.array([[1.0, 0], [0, 2], [3, 4]])
CAPTIONS = np.array([[3.0, 4], [0, -1], [4, 3]])


def test_by_hand():
  # Cosines 0.6, -1 and (12 + 12) / 25.
  np.testing.assert_allclose(
    clip_score.clip_scores(IMAGES, CAPTIONS), [1.5, 0, 2.4], atol=1e-15
  )
  references = np.array([[0.0, 1], [1, 0], [0, -1], [-4, -3]])
  got = clip_score.ref_clip_scores(IMAGES, CAPTIONS, references, [0, 0, 1, 2])
  # The nearest references are at 0.8, 1 and -1, which counts as 0.
  np.testing.assert_allclose(got, [2 * 1.5 * 0.8 / 2.3, 0, 0], atol=1e-15)


def test_a_record():
  references, owners = CAPTIONS[::-1], [2, 1, 0]
  made = clip_score.record(
    IMAGES, CAPTIONS, references, owners, model=clip_score.MODEL
  )
  assert made["CLIPScore"] == pytest.approx(1.3)
  # Captions beside the next image: 0.8 / 1, -0.8 and 4 / 5.
  assert made["chance"]["CLIPScore"] == pytest.approx(2.5 * 1.6 / 3)
  expected = clip_score.ref_clip_scores(
    IMAGES, CAPTIONS[[2, 0, 1]], CAPTIONS, [0, 1, 2]
  )
  assert made["chance"]["RefCLIPScore"] == pytest.approx(expected.mean())
  low, high = made["intervals"]["RefCLIPScore"]
  assert low <= made["RefCLIPScore"] <= high


def test_other_models_have_other_names():
  made = clip_score.record(IMAGES, CAPTIONS, model="SigLIP B/16")
  assert made["CLIPScore (SigLIP B/16)"] == pytest.approx(1.3)
  assert "CLIPScore" not in made
  other = clip_score.record(IMAGES, CAPTIONS, model=clip_score.MODEL, prompt="")
  assert "CLIPScore" not in other


def test_messages():
  with pytest.raises(ValueError, match=r"images' \(3, 2\); got \(2, 2\)"):
    clip_score.clip_scores(IMAGES, CAPTIONS[:2])
  with pytest.raises(ValueError, match="embeddings of captions .* row 1"):
    clip_score.clip_scores(IMAGES, CAPTIONS * [[1], [0], [1]])
  with pytest.raises(ValueError, match=r"none of \[2\] and some of \[3\]"):
    clip_score.ref_clip_scores(IMAGES, CAPTIONS, IMAGES, [0, 1, 3])
  with pytest.raises(ValueError, match="3 references and 1 images"):
    clip_score.ref_clip_scores(IMAGES, CAPTIONS, IMAGES, [0])
  with pytest.raises(ValueError, match="at least 2 images"):
    clip_score.record(IMAGES[:1], CAPTIONS[:1], model="x")
