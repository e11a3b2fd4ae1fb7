"""SemDeDup as a step: the reference's choice, in any shards."""

import numpy as np
import pytest

from curation.on_mesh import kmeans, nearest_before
from curation.rules.duplicates import semdedup as semdedup_lib
from tests.curation import synth
from tests.curation.on_mesh import test_nearest_before
from tests.evaluators import meshes


def make_step(**fields):
  fields = {
    "model": synth.MODEL,
    "num_clusters": 9,
    "num_iterations": 3,
    "epsilon": 0.02,
    "fraction": 0.0,
    "tuned_share": 1.0,
    "seed": 1,
  } | fields
  return semdedup_lib.SemDeDup(**fields)


def expected_cosines(rows, step):
  """Return the reference's cosines with the step's clusters."""
  uids = np.array([synth.uid(n) for n in range(len(rows))])
  order = np.argsort(uids)
  embeddings = semdedup_lib.gathered.Embeddings(
    np.array([bytes.fromhex(uid) for uid in uids[order]], "S16"), rows[order]
  )
  mesh = meshes.make_mesh()
  centroids = kmeans.fit(
    embeddings.z_NE,
    embeddings.priority(step.seed),
    kmeans.KMeans(step.num_clusters, step.num_iterations),
    mesh,
  )
  cluster, cosine = kmeans.nearest(embeddings.z_NE, centroids, mesh)
  before = np.empty(len(rows), np.float32)
  before[order] = nearest_before.reference(
    embeddings.z_NE, cluster[:, 0], cosine[:, 0]
  )
  return before


def test_keeps_what_the_reference_keeps_in_any_shards(tmp_path):
  rows, _, _ = test_nearest_before.clustered()
  columns = synth.embeddings(rows)
  step = make_step()
  before = expected_cosines(rows, step)
  expected = np.flatnonzero(before <= 0.98).tolist()
  assert 40 < len(expected) < 200
  for name, shards in (
    ("a", [list(range(230))]),
    # Some images with a second caption.
    ("b", [*synth.in_other_shards(230), list(range(20))]),
  ):
    got, manifest = synth.kept(
      tmp_path, name, columns, synth.EMBED | {"it": step}, shards
    )
    assert got == expected
    facts = manifest["steps"][1]["facts"]
    assert facts["num_images"] == 230
    assert facts["num_duplicates"] == 230 - len(expected)
  states = (tmp_path / "a" / "stages").glob("*/state/it/*")
  assert "embeddings.npy" not in {path.name for path in states}


@pytest.mark.parametrize(("share", "tolerance"), [(1.0, 0.02), (0.3, 0.15)])
def test_a_fraction_goes(tmp_path, share, tolerance):
  rows, _, _ = test_nearest_before.clustered()
  step = make_step(epsilon=0.0, fraction=0.5, tuned_share=share)
  step.check("steps.it")
  columns = synth.embeddings(rows)
  got, manifest = synth.kept(
    tmp_path,
    "a",
    columns,
    synth.EMBED | {"it": step},
    [list(range(230))],
  )
  # Epsilon is tuned on a share of the clusters, which differ from the rest.
  assert len(got) / 230 == pytest.approx(0.5, abs=tolerance)
  facts = manifest["steps"][1]["facts"]
  assert (facts["num_tuned_images"] == 230) == (share == 1.0)


def test_mistakes_are_named(tmp_path):
  with pytest.raises(ValueError, match="steps.a needs epsilon or fraction"):
    make_step(fraction=0.3).check("steps.a")
  with pytest.raises(ValueError, match="steps.a.num_clusters must be at least"):
    make_step(num_clusters=0).check("steps.a")
  with pytest.raises(ValueError, match="num_clusters is 9.* only 3 rows"):
    synth.kept(
      tmp_path,
      "a",
      synth.embeddings(np.eye(3)),
      synth.EMBED | {"it": make_step()},
      [[0, 1, 2]],
    )
