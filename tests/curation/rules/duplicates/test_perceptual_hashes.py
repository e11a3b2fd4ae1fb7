"""Choice of the kept image among equal or near perceptual hashes."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation import pool
from curation.keys import hashing
from curation.rules.duplicates import perceptual_hashes, phash, reference_images
from input_pipeline.storage import uids as uids_lib
from tests.curation import synth
from tests.curation.keys import test_hamming
from tests.curation.rules.duplicates import test_phash


def priorities(num_rows, seed):
  names = b"".join(bytes.fromhex(synth.uid(row)) for row in range(num_rows))
  data = np.frombuffer(names, np.uint8).reshape(-1, 16)
  return hashing.h64(data, seed)


def brute_force(hashes, max_distance, seed):
  """Return who is kept: one pair after another, by its hash."""
  kept = []
  for row in np.argsort(priorities(len(hashes), seed)):
    distance = np.bitwise_count(hashes[kept] ^ hashes[row])
    if not (distance <= max_distance).any():
      kept.append(int(row))
  return sorted(kept)


@pytest.mark.parametrize("max_distance", [0, 3, 10])
def test_keeps_what_brute_force_keeps_in_any_shards(max_distance, tmp_path):
  hashes = test_hamming.planted(150)
  hashes[100:] = hashes[:50]
  step = perceptual_hashes.DuplicateImages("phash", max_distance, 3)
  columns = {"phash": pa.array(hashes)}
  expected = brute_force(hashes, max_distance, 3)
  assert len(expected) < len(np.unique(hashes)) + (max_distance == 0)
  for name, shards in (
    ("a", [list(range(70)), list(range(70, 150))]),
    ("b", synth.in_other_shards(150)),
  ):
    got, manifest = synth.kept(tmp_path, name, columns, {"it": step}, shards)
    assert got == expected, name
    facts = manifest["steps"][0]["facts"]
    assert facts["num_hashes"] == len(np.unique(hashes))
    dropped = len(np.unique(hashes)) - len(expected)
    assert facts["num_near_hashes"] == dropped
    # Nothing but the state is left.
    states = (tmp_path / name / "stages").glob("*/state/it/*")
    names = {path.name for path in states} - {"dropped"}
    assert names == {"winners", "facts.json"}


def test_without_duplicates_all_are_kept(tmp_path):
  step = perceptual_hashes.DuplicateImages("phash", 0, 3)
  columns = {"phash": pa.array(np.arange(5, dtype=np.uint64))}
  got, _ = synth.kept(tmp_path, "a", columns, {"it": step}, [[0, 3], [1, 2, 4]])
  assert got == [0, 1, 2, 3, 4]


def test_all_captions_of_the_image_that_wins_are_kept(tmp_path):
  # Image 0 has two captions here and one there; image 1 looks the same.
  shards, hashes = [[0, 0, 1], [2, 0]], np.array([5, 5, 6], np.uint64)
  first, _ = np.argsort(priorities(3, 3)[:2])
  step = perceptual_hashes.DuplicateImages("phash", 0, 3)
  columns = {"phash": pa.array(hashes)}
  got, manifest = synth.kept(tmp_path, "a", columns, {"it": step}, shards)
  assert got == [first, 2]
  assert manifest["steps"][0]["kept"] == (4 if first == 0 else 2)


def test_hashes_are_made_of_images_and_what_is_none_is_dropped(tmp_path):
  files = [test_phash.encoded(n, "PNG", (60, 60)) for n in range(4)]
  # The first one again, as a JPEG at another size.
  again = io.BytesIO()
  Image.open(io.BytesIO(files[0])).resize((90, 90)).save(again, "JPEG")
  images = [*files, again.getvalue(), b"no image", None]
  steps = {
    "phash": perceptual_hashes.PerceptualHash("phash"),
    "it": perceptual_hashes.DuplicateImages("phash", 4, 0),
  }
  columns = {"image": pa.array(images, pa.binary())}
  got, manifest = synth.kept(tmp_path, "a", columns, steps, [list(range(7))])
  assert manifest["steps"][0]["kept"] == 5
  assert len(got) == 4
  assert {1, 2, 3} < set(got)
  (path,) = tmp_path.rglob("signals/*.parquet")
  kinds = pq.read_table(path)["phash_fault"].to_pylist()
  assert kinds == [None] * 5 + ["image_broken", "image_missing"]


def test_reference_hashes(tmp_path):
  hashes = test_hamming.planted(80)
  np.save(tmp_path / "refs.npy", hashes[:20])
  (tmp_path / "signals").mkdir()
  other = pa.table({"phash": pa.array([int(hashes[30]), None], pa.uint64())})
  pq.write_table(other, tmp_path / "signals" / "x.parquet")
  paths = (str(tmp_path / "refs.npy"), str(tmp_path / "signals"))
  all_references = np.append(hashes[:20], hashes[30])
  columns = {"phash": pa.array(hashes)}
  for max_distance in (0, 5):
    step = reference_images.ReferenceImages("phash", paths, max_distance)
    step.check("steps.it")
    got, _ = synth.kept(
      tmp_path, f"{max_distance}", columns, {"it": step}, [list(range(80))]
    )
    distance = np.bitwise_count(hashes[:, None] ^ all_references).min(1)
    expected = np.flatnonzero(distance > max_distance).tolist()
    assert got == expected
    assert 0 < len(got) < 60


def test_mistakes_are_named(tmp_path):
  with pytest.raises(ValueError, match="steps.a.references must name files"):
    reference_images.ReferenceImages("phash", (), 0).check("steps.a")
  np.save(tmp_path / "bad.npy", np.zeros((2, 2)))
  with pytest.raises(ValueError, match=r"bad.npy must hold hashes.*float64"):
    reference_images.read(tmp_path / "bad.npy", "phash")
  pq.write_table(pa.table({"a": [1]}), tmp_path / "bad.parquet")
  with pytest.raises(ValueError, match="no column phash; it has"):
    reference_images.read(tmp_path / "bad.parquet", "phash")
  table = pa.table({"phash": pa.array([1, None], pa.uint64())})
  with pytest.raises(ValueError, match="hash of every pair.* 1 nulls"):
    perceptual_hashes.read_hashes(table, "phash")


def test_uids_of_a_sliced_table():
  names = [bytes([n]) * 16 for n in range(6)]
  table = pa.table({"uid": pa.array(names, pa.binary(16))})
  table = pa.concat_tables([table, table]).slice(2, 7)
  expected = np.array((names * 2)[2:9], uids_lib.S16)
  np.testing.assert_array_equal(pool.sortable_uids(table), expected)
  assert phash.NUM_BITS == 64
