"""negCLIPLoss, NormSim and the image-based filter, on stored embeddings."""

import types

import jax
import numpy as np
import pytest

from curation.on_disk import embedding_store, random_batches
from curation.on_mesh import negclip, normsim, scorer
from curation.rules import cuts, image_based, negclip_normsim, references
from runtime.storage import mirror
from tests.curation import synth
from tests.evaluators import meshes

NUM_PAIRS = 45
MODEL = synth.MODEL


def rows(count, seed, width=8):
  return embedding_store.unit(
    np.random.default_rng(seed).normal(size=(count, width))
  )


@pytest.fixture(scope="module")
def columns():
  return {
    "x_img": synth.embeddings(rows(NUM_PAIRS, 0))["x_img"],
    "x_txt": synth.embeddings(rows(NUM_PAIRS, 1))["x_txt"],
  }


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 1, 1)])
@pytest.mark.parametrize("temperature", [0.01, 0.07])
def test_negclip_is_its_reference(shape, temperature):
  zimg, ztxt = rows(21, 0), rows(21, 1)
  mesh = meshes.make_mesh(shape)
  got = negclip.scores(zimg, ztxt, temperature, mesh, padded=24)
  # float32 against float64: logits are up to 100.
  np.testing.assert_allclose(
    got, negclip.reference(zimg, ztxt, temperature), atol=1e-6
  )


def test_no_matrix_of_a_whole_batch():
  """32,768 pairs have 4 GiB of cosines; a device holds a block of them."""
  num_rows, mesh = 32_768, meshes.make_mesh((8, 1, 1))
  sharding = jax.NamedSharding(mesh, jax.P(("data", "fsdp")))
  z = jax.ShapeDtypeStruct((num_rows, 64), np.float16, sharding=sharding)
  is_row = jax.ShapeDtypeStruct((num_rows,), bool, sharding=sharding)
  scale = jax.ShapeDtypeStruct((), np.float32)
  compiled = negclip._scores.lower(z, z, is_row, scale, mesh).compile()
  block = 4 * num_rows // 8 * negclip._BLOCK
  assert compiled.memory_analysis().temp_size_in_bytes < 6 * block


@pytest.mark.parametrize("norm", negclip_normsim.NORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 1, 1)])
def test_normsim_is_its_reference(shape, norm, monkeypatch):
  monkeypatch.setattr(normsim, "_BLOCK", 4)  # several blocks a device
  z, targets = rows(21, 0), rows(37, 1)
  found = normsim.Targets(targets, norm, meshes.make_mesh(shape))
  np.testing.assert_allclose(
    found.compare(z, 16), normsim.reference(z, targets, norm), atol=1e-5
  )


def curated(tmp_path, name, columns, steps, shards=None):
  shards = shards or [list(range(20)), list(range(20, NUM_PAIRS))]
  return synth.kept(tmp_path, name, columns, synth.EMBED | steps, shards)


def test_negclip_of_a_pool(tmp_path, columns, monkeypatch):
  """Batches are those of the hashes, whatever the shards and buckets."""
  step = negclip_normsim.NegClipLoss(MODEL, "ncl", 0.07, 16, 3, 5)
  best = cuts.TopFraction("ncl", 0.3, False)
  steps = {"ncl": step, "best": best}
  kept, manifest = curated(tmp_path, "one", columns, steps)
  facts = manifest["steps"][1]["facts"]
  assert (facts["num_batches"], facts["num_pairs"]) == (3, NUM_PAIRS)
  assert facts["least_batch"] == facts["greatest_batch"] == 15
  zimg, ztxt = rows(NUM_PAIRS, 0), rows(NUM_PAIRS, 1)
  uids = np.array(
    [(int(synth.uid(n)[:16], 16), n) for n in range(NUM_PAIRS)],
    "u8,u8",
  )
  total = np.zeros(NUM_PAIRS)
  for number in range(3):
    order = np.argsort(random_batches.hashing.h64(uids, step._seed(number)))
    for batch in np.split(order, 3):
      total[batch] += negclip.reference(zimg[batch], ztxt[batch], 0.07)
  cut = np.sort(total)[::-1][int(NUM_PAIRS * 0.3)]
  assert kept == np.flatnonzero(total >= cut).tolist()
  monkeypatch.setattr(random_batches, "BUCKET", 7)
  monkeypatch.setattr(random_batches, "_BUFFER", 10)
  shards = synth.in_other_shards(NUM_PAIRS)
  other, again = curated(tmp_path, "other", columns, steps, shards)
  assert other == kept
  histograms = [
    found["steps"][2]["facts"]["histogram"] for found in (manifest, again)
  ]
  assert histograms[0] == histograms[1]


@pytest.mark.parametrize("num_pairs", [0, 1, 16, 17, 33, 100])
def test_sizes_of_batches_differ_by_one(tmp_path, num_pairs):
  part = tmp_path / "a"
  with open(part, "wb") as file:
    np.save(file, np.zeros(num_pairs, embedding_store.PAIR))
  pairs = random_batches.Batches(
    (part,), embedding_store.Store(tmp_path), tmp_path
  )
  sizes = pairs.sizes(16)
  assert sizes.sum() == num_pairs
  assert len(sizes) == -(-num_pairs // 16)
  assert not len(sizes) or (np.ptp(sizes) <= 1 and sizes.max() <= 16)


def test_normsim_of_a_pool(tmp_path, columns):
  targets = rows(9, 3)
  np.save(tmp_path / "targets.npy", targets)
  path = str(tmp_path / "targets.npy")
  step = negclip_normsim.NormSim(MODEL, "near", path, "inf")
  step.check("steps.near")
  expected = normsim.reference(rows(NUM_PAIRS, 0), targets, "inf")
  cut = float(np.sort(expected)[-10]) - 1e-6
  steps = {"near": step, "cut": cuts.Threshold("near", cut)}
  kept, _ = curated(tmp_path, "one", columns, steps)
  assert kept == np.flatnonzero(expected >= cut).tolist()


def test_image_based(tmp_path):
  """Three far groups of images, references in one of them."""
  rng = np.random.default_rng(0)
  group = rng.integers(0, 3, NUM_PAIRS)
  group[:3] = [0, 1, 2]
  images = np.eye(8)[group] + 0.05 * rng.normal(size=(NUM_PAIRS, 8))
  columns = {
    "x_img": synth.embeddings(embedding_store.unit(images))["x_img"],
    "x_txt": synth.embeddings(rows(NUM_PAIRS, 1))["x_txt"],
  }
  near = np.eye(8)[[1, 1]] + 0.05 * rng.normal(size=(2, 8))
  np.save(tmp_path / "near.npy", near.astype(np.float32))
  step = image_based.ImageBased(
    MODEL, str(tmp_path / "near.npy"), 3, 20, NUM_PAIRS, 0
  )
  step.check("steps.near")
  found = {}
  for name, shards in (
    ("one", None),
    ("other", synth.in_other_shards(NUM_PAIRS)),
  ):
    found[name], manifest = curated(
      tmp_path, name, columns, {"near": step}, shards
    )
    assert manifest["steps"][1]["facts"]["num_hit"] == 1
  assert found["one"] == found["other"]
  assert set(found["one"]) == set(np.flatnonzero(group == 1).tolist())


def test_what_is_not_embedded_is_said(tmp_path, columns):
  step = negclip_normsim.NegClipLoss("columns:l14", "ncl", 0.07, 16, 1, 0)
  with pytest.raises(
    embedding_store.MissingError, match="have no embeddings in"
  ):
    curated(tmp_path, "one", columns, {"ncl": step})


def test_references_of_no_use(tmp_path):
  step = negclip_normsim.NormSim(MODEL, "near", str(tmp_path), "inf")
  with pytest.raises(
    ValueError, match=r"steps\.near\.references: .*images\.npy"
  ):
    step.check("steps.near")
  step = negclip_normsim.NormSim(MODEL, "near", "gone.npy", "inf")
  with pytest.raises(ValueError, match="there is no gone.npy"):
    step.check("steps.near")


def test_a_reference_that_is_no_image(tmp_path, monkeypatch):
  (tmp_path / "page.png").write_bytes(b"<html>")
  store = types.SimpleNamespace(
    folder=tmp_path / "store", copy=mirror.Mirror(tmp_path)
  )
  model = types.SimpleNamespace(
    images=lambda images, size: (
      np.zeros((0, 2), np.float16),
      np.array([b"image_broken" for _ in images]),
    )
  )
  monkeypatch.setattr(scorer, "open_store", lambda context, model: store)
  monkeypatch.setattr(scorer, "load", lambda path: model)
  with pytest.raises(
    ValueError, match=r"^references: .*page\.png: .* it is an HTML page"
  ):
    references.load(None, "a run", str(tmp_path))
