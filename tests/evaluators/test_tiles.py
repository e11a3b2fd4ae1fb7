import json
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from evaluators import retrieval, tiles
from runtime import mesh as mesh_lib
from tests import runs
from tests.evaluators import meshes


def _near_ties(num=300, seed=0):
  """Return rows and columns whose similarities lie around the tie's bounds."""
  rng = np.random.default_rng(seed)
  base = rng.normal(size=(1, 96))
  return (
    meshes.unit(base + rng.normal(size=(num, 96)) / 4),
    meshes.unit(base + 1e-4 * rng.normal(size=(num, 96))),
  )


def _counts(zrow, zcol, shape, label_r=None, label_c=None, **kwargs):
  label_r = np.arange(len(zrow)) if label_r is None else label_r
  label_c = np.arange(len(zcol)) if label_c is None else label_c
  return tiles.counts(
    zrow,
    zcol,
    label_RK=label_r.reshape(len(zrow), -1),
    label_MK=label_c.reshape(len(zcol), -1),
    mesh=meshes.make_mesh(shape),
    tie=retrieval.TIE,
    **kwargs,
  )


@pytest.mark.parametrize("reweight", [False, True])
def test_the_same_to_the_bit_on_1_2_and_8_devices(reweight, monkeypatch):
  monkeypatch.setattr(tiles, "_TILE", 64)
  monkeypatch.setattr(tiles, "_CHUNK", 2)
  zrow, zcol = _near_ties()
  gap = zrow @ zcol.T
  gap = np.abs(gap - np.diag(gap)[:, None])
  # Rounding decides on many pairs, were it different.
  assert (np.abs(gap - retrieval.TIE) < 6e-8).sum() > 300
  want = _counts(zrow, zcol, (1, 1, 1), reweight=reweight)
  for shape in ((2, 1, 1), (8, 1, 1), (2, 2, 2)):
    got = _counts(zrow, zcol, shape, reweight=reweight)
    np.testing.assert_array_equal(got, want)


def test_tiles_do_not_depend_on_devices(monkeypatch):
  shapes = set()
  sweep = tiles._sweep

  def spy(rows, columns, visited, total, **kwargs):
    shards = {x.data.shape for x in rows["z"].addressable_shards}
    shapes.add((*shards, visited["order"].shape[1], len(total)))
    return sweep(rows, columns, visited, total, **kwargs)

  monkeypatch.setattr(tiles, "_sweep", spy)
  zrow, zcol = _near_ties()
  for shape in ((1, 1, 1), (2, 1, 1), (8, 1, 1)):
    _counts(zrow, zcol, shape)
  assert len(shapes) == 1
  assert tiles.tile_sizes(300, 300) == (64, 304)


# Tiles and chunks that the sizes fill, and that they do not.
@pytest.mark.parametrize("tile", [8, 16, 1024])
@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("reweight", ["", "dsl"])
def test_equals_reference_in_tiles(tile, chunk, reweight, monkeypatch):
  monkeypatch.setattr(tiles, "_TILE", tile)
  monkeypatch.setattr(tiles, "_CHUNK", chunk)
  rng = np.random.default_rng(0)
  zrow, zcol = (meshes.unit(rng.normal(size=(n, 4))) for n in (70, 53))
  label_c = np.concatenate([np.arange(20), rng.integers(0, 20, 33)])
  label_r = np.concatenate([np.arange(20), rng.integers(0, 20, 50)])
  got = retrieval.ranks_both(
    zrow,
    zcol,
    label_N=label_r,
    label_M=label_c,
    mesh=meshes.make_mesh((2, 1, 1)),
    reweight=reweight,
  )
  for ranks, args, q, m in (
    (got[0], (zrow, zcol), label_r, label_c),
    (got[1], (zcol, zrow), label_c, label_r),
  ):
    want = retrieval.reference(*args, label_Q=q, label_M=m, reweight=reweight)
    np.testing.assert_array_equal(ranks, want)


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 1, 1)])
def test_nan_counts_against_its_own_query(shape):
  z = np.eye(4, dtype=np.float32)
  nan = z.copy()
  nan[1] = np.nan
  count_r, count_c = _counts(nan, z, shape)
  # The others have a candidate of unknown similarity: as if it were above.
  assert count_r.tolist() == [0, 6, 0, 0]
  assert count_c.tolist() == [2, 6, 2, 2]


def test_labels_may_be_large():
  z = np.eye(3, dtype=np.float32)
  label = np.array([10**12, 5, 10**15])
  assert not np.concatenate(_counts(z, z, (1, 1, 1), label, label)).any()


def test_a_device_holds_a_chunk_of_columns():
  """Bytes of a call do not depend on the number of rows or columns."""
  compiled = tiles.lower(
    10**6, 5 * 10**6, 512, num_labels=(5, 1), mesh=meshes.make_mesh()
  ).compile()
  memory = compiled.memory_analysis()
  assert memory is not None
  assert memory.argument_size_in_bytes < 72 * 2**20
  # A tile of similarities takes 4 MiB, and one of its intermediates as much.
  assert memory.temp_size_in_bytes < 32 * 2**20


@pytest.mark.slow
def test_two_processes_get_the_ranks_of_one():
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    port = taken.getsockname()[1]
  script = "import tests.evaluators.test_tiles as t; t.run_process({}, {})"
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", script.format(port, index)],
      cwd=runs.ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]
  zrow, zcol = _near_ties()
  want = [
    _digest(_counts(zrow, zcol, (1, 1, 1), reweight=x)) for x in (False, True)
  ]
  try:
    for process in processes:
      out, err = process.communicate(timeout=100)
      assert process.returncode == 0, err
      assert out.split()[-2:] == want
  finally:
    for process in processes:
      process.kill()


def _digest(counts):
  weights = np.arange(len(counts[0]) + len(counts[1]))
  return str(np.concatenate(counts) @ weights)


def run_process(port, index):
  """Be one of two processes with two devices each."""
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 2)
  jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(4, 1, 1))
  assert mesh.is_multi_process
  for reweight in (False, True):
    labels = np.arange(300)[:, None]
    zrow, zcol = _near_ties()
    counts = tiles.counts(
      zrow,
      zcol,
      label_RK=labels,
      label_MK=labels,
      mesh=mesh,
      tie=retrieval.TIE,
      reweight=reweight,
    )
    print(_digest(counts))


@pytest.mark.slow
def test_a_million_by_a_million_on_tpus():
  pytest.importorskip("libtpu")
  process = subprocess.run(
    [sys.executable, "-m", "benchmarks.evaluation.retrieval_plan"],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert process.returncode == 0, process.stderr
  got = json.loads(process.stdout.splitlines()[-1])
  assert got["chips"] == 256
  assert 0 < got["peak_mib"] <= got["bound_mib"] < 80
