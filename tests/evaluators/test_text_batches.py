import dataclasses

import jax
import numpy as np
import pytest

from evaluators import embedding, text_batches
from models import dual_encoder
from models.pretrained import mapping
from tests import runs
from tests.evaluators import meshes
from tests.models.pretrained.families import mirror

_BATCH_SIZE = 4
_MODEL = runs.make_config(
  {
    "data.num_tokens": 40,
    "model.text.causal": True,
    "model.text.pool": "eot",
    "model.text.mask_padding": False,
  }
).model


def make_tokens(lengths):
  """Return ids of captions of these lengths, an end of text each, padded."""
  text = _MODEL.text
  rng = np.random.default_rng(0)
  tokens = np.full((len(lengths), text.num_tokens), text.pad_id, np.int32)
  for row, length in zip(tokens, lengths, strict=True):
    row[:length] = rng.integers(10, 40, length)
    row[length - 1] = text.eot_id
  return tokens


def embed(lengths, text=_MODEL.text):
  """Return rows, those of whole contexts, and the lengths of programs."""
  assert _MODEL.text.eot_id not in range(10, 40)
  shapes = []
  embed_images, embed_texts = dual_encoder.embed_fns(_MODEL)

  def noted(params, tokens_bL):
    shapes.append(tokens_bL.shape)
    return embed_texts(params, tokens_bL)

  embedder = embedding.make_embedder(
    embed_images, noted, meshes.make_mesh(), _BATCH_SIZE
  )
  params = jax.device_put(mapping.nested(mirror.random_params(_MODEL)))
  tokens = make_tokens(lengths)
  with jax.transfer_guard("disallow"), jax.set_mesh(embedder.mesh):
    got = text_batches.embed(embedder, params, tokens, text)
  used = [length for _, length in shapes]
  with jax.set_mesh(embedder.mesh):
    return got, embedder.texts(params, tokens), used


def test_short_texts_are_cut():
  # Five of at most 8: four of them, and one with those of at most 16.
  got, want, used = embed([14, 3, 8, 5, 30, 7, 13, 16, 4])
  np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)
  assert used == [8, 16, 32]
  assert np.abs(want[0] - want[1]).max() > 0.01


@pytest.mark.parametrize(
  ("lengths", "program"), [([3, 9, 5], 12), ([3, 40, 5], 40)]
)
def test_few_texts_are_one_program(lengths, program):
  got, want, used = embed(lengths)
  np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)
  assert used == [program]


@pytest.mark.parametrize(
  "text",
  [None, dataclasses.replace(_MODEL.text, causal=False)],
  ids=["unknown", "looks at padding"],
)
def test_other_texts_keep_their_padding(text):
  got, want, used = embed([3, 9, 5], text)
  np.testing.assert_array_equal(got, want)
  assert used == [40]
