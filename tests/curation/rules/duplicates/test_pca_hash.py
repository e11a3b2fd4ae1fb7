"""Hashes by the signs of principal components."""

import numpy as np
import pytest

from curation.rules.duplicates import pca_hash, perceptual_hashes
from tests.curation import synth
from tests.evaluators import meshes


def make_rows():
  """Return rows of falling variances, around a mean; the last are copies."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(200, 70)) * np.geomspace(1, 0.05, 70)
  rows = meshes.unit(rows + rng.normal(size=70) / 4).astype(np.float16)
  rows[180:] = rows[:20]
  return rows


def test_bits_are_signs_of_the_components():
  rows = make_rows()
  got = pca_hash.hashes(rows, *pca_hash.principal_axes(rows)[:2])
  centred = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
  # The singular vectors of the rows, an independent way to the same axes.
  _, _, axes = np.linalg.svd(centred, full_matrices=False)
  components = centred @ axes[:64].T
  bits = np.unpackbits(got.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
  flipped = axes[np.arange(64), np.abs(axes[:64]).argmax(1)] < 0
  expected = (components > 0) ^ flipped
  # Rounding to 2^-20 decides only about what is that near to 0.
  clear = np.abs(components) > 1e-4
  assert clear.mean() > 0.99
  np.testing.assert_array_equal(bits.astype(bool)[clear], expected[clear])
  # Other rows of a call do not change the hash of a row.
  alone = pca_hash.hashes(rows[7:8], *pca_hash.principal_axes(rows)[:2])
  assert alone[0] == got[7]


def test_copies_are_dropped_in_any_shards(tmp_path):
  steps = synth.EMBED | {
    "hash": pca_hash.PcaHash(synth.MODEL, "pca_hash"),
    "it": perceptual_hashes.DuplicateImages("pca_hash", 0, 0),
  }
  columns = synth.embeddings(make_rows())
  results = [
    synth.kept(tmp_path, name, columns, steps, shards)
    for name, shards in (
      ("a", [list(range(200))]),
      ("b", synth.in_other_shards(200)),
    )
  ]
  got, manifest = results[0]
  assert results[1][0] == got
  assert len(got) == 180
  # One of each two copies.
  assert sorted(row % 180 for row in got) == list(range(180))
  assert 0.9 < manifest["steps"][1]["facts"]["share_of_variance"] <= 1


def test_short_embeddings_are_refused():
  with pytest.raises(ValueError, match="64 bits needs .* got 8"):
    pca_hash.principal_axes(np.zeros((3, 8), np.float16))
