"""ALIGN's removal of near-duplicates as a step, against brute force."""

import numpy as np
import pytest

from curation.rules.duplicates import near_duplicates
from tests.curation import synth
from tests.evaluators import meshes


def make_step(*references, **fields):
  fields = {
    "model": synth.MODEL,
    "num_clusters": 12,
    "num_iterations": 3,
    "num_nearest": 6,
    "subset": 3,
    "threshold": 0.975,
    "seed": 1,
  } | fields
  paths = tuple(str(path) for path in references)
  return near_duplicates.NearDuplicates(references=paths, **fields)


def test_drops_what_is_near_a_reference_in_any_shards(tmp_path):
  rng = np.random.default_rng(0)
  rows = meshes.unit(rng.normal(size=(120, 16)))
  references = meshes.unit(rng.normal(size=(30, 16)))
  # Rows with cosines of 0.95 to 1 with a reference.
  noise = rng.uniform(0, 0.08, (25, 1)) * rng.normal(size=(25, 16))
  rows[:25] = meshes.unit(references[:25] + noise)
  np.save(tmp_path / "a.npy", references[:20].astype(np.float16))
  np.save(tmp_path / "b.npy", references[20:])
  step = make_step(tmp_path / "a.npy", tmp_path / "b.npy")
  step.check("steps.it")
  cosine = rows @ references.T
  expected = np.flatnonzero(cosine.max(1) <= 0.975).tolist()
  assert 95 < len(expected) < 119
  # No cosine is so close to the threshold that float16 decides.
  assert np.abs(cosine - 0.975).min() > 1e-4
  columns = synth.embeddings(rows)
  for name, shards in (
    ("a", [list(range(120))]),
    ("b", synth.in_other_shards(120)),
  ):
    got, manifest = synth.kept(
      tmp_path, name, columns, synth.EMBED | {"it": step}, shards
    )
    # Images that near share 3 of their 6 nearest clusters, as in general.
    assert got == expected
    facts = manifest["steps"][1]["facts"]
    assert facts["num_duplicates"] == 120 - len(expected)
    assert facts["num_references"] == 30


def test_mistakes_are_named(tmp_path):
  with pytest.raises(ValueError, match="steps.a.references must name"):
    make_step().check("steps.a")
  with pytest.raises(ValueError, match="steps.a.references: there is no"):
    make_step(tmp_path / "a.npy").check("steps.a")
  with pytest.raises(ValueError, match="subset <= num_nearest"):
    make_step(tmp_path / "a.npy", num_nearest=2).check("steps.a")
  np.save(tmp_path / "b.npy", np.eye(4, dtype=np.float32))
  step = make_step(tmp_path / "b.npy", num_clusters=3, num_nearest=3)
  columns = synth.embeddings(np.eye(8))
  with pytest.raises(ValueError, match="of 4 numbers, the pairs of 8"):
    synth.kept(
      tmp_path,
      "a",
      columns,
      synth.EMBED | {"it": step},
      [list(range(8))],
    )
