import dataclasses
import gc
import pathlib
import re
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping

import jax
import numpy as np
import pytest

from evaluators import embedding
from input_pipeline import evaluation_split, faults
from input_pipeline.images import image_ops
from input_pipeline.sources import record as record_lib
from models import naflex
from runtime import cluster
from tests.evaluators import meshes

ROOT = pathlib.Path(__file__).parents[2]


def make_embedder(shape=(1, 1, 1), batch_size=8, **kwargs):
  return embedding.make_embedder(
    meshes.embed_images,
    meshes.embed_texts,
    meshes.make_mesh(shape),
    batch_size,
    **kwargs,
  )


@pytest.mark.parametrize("shape", meshes.SHAPES)
@pytest.mark.parametrize("num_rows", [1, 8, 21])
def test_rows_come_back_in_order(shape, num_rows):
  table = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
  ids = np.random.default_rng(1).integers(0, 300, num_rows)
  embedder = make_embedder(shape)
  params = jax.device_put(table, jax.NamedSharding(embedder.mesh, jax.P()))
  # As in the training loop.
  with jax.transfer_guard("disallow"), jax.set_mesh(embedder.mesh):
    zimg = embedder.images(params, meshes.images_of(ids))
    ztxt = embedder.texts(params, np.stack([ids, ids], 1).astype(np.int32))
  np.testing.assert_array_equal(zimg, table[ids])
  np.testing.assert_array_equal(ztxt, table[ids])
  assert zimg.dtype == ztxt.dtype == np.float32


def test_patches_are_embedded_by_rows_too():
  def embed(params, images):
    return images.patches_bNP[:, 0, :2] * params + images.shapes_b2

  mesh = meshes.make_mesh((2, 1, 1))
  embedder = embedding.make_embedder(embed, meshes.embed_texts, mesh, 4)
  rng = np.random.default_rng(0)
  patches = rng.integers(0, 256, (7, 3, 12), np.uint8)
  shapes = rng.integers(1, 4, (7, 2), np.int32)
  got = embedder.images(np.float32(0.5), naflex.Patches(patches, shapes))
  np.testing.assert_array_equal(got, patches[:, 0, :2] * 0.5 + shapes)
  with pytest.raises(ValueError, match="patches must be uint8 of 3"):
    embedder.images(None, naflex.Patches(patches[0], shapes))


@pytest.mark.parametrize("batch_size", [0, 6, 12])
def test_batch_size_that_does_not_divide_names_the_field(batch_size):
  with pytest.raises(ValueError, match=r"evaluate\.batch_size .* 8 devices"):
    make_embedder((4, 2, 1), batch_size)


def test_stops_between_batches():
  answers = iter([False, False, True])
  embedder = make_embedder(should_stop=lambda: next(answers))
  with pytest.raises(embedding.Interrupted, match="after 16 texts"):
    embedder.texts(np.ones((1, 2), np.float32), np.zeros((21, 3), np.int32))


def test_embeddings_that_are_not_finite_are_an_error():
  table = np.array([[1.0, 0.0], [np.nan, 0.0]], np.float32)
  with pytest.raises(ValueError, match="1 of 3 text embeddings are not fin"):
    make_embedder().texts(table, np.array([[0], [1], [0]], np.int32))


def test_padding_that_is_not_finite_is_no_error():
  # Rows are padded by copies; zeros would look up the NaN.
  table = np.array([[np.nan, 0.0], [1.0, 0.0]], np.float32)
  z = make_embedder().texts(table, np.array([[1]], np.int32))
  np.testing.assert_array_equal(z, [[1.0, 0.0]])


@pytest.mark.parametrize(
  "tokens",
  [
    np.zeros((2, 3), np.int64),
    np.zeros((2,), np.int32),
    np.zeros((0, 3), np.int32),
  ],
)
def test_wrong_arrays_are_refused(tokens):
  got = re.escape(f"got {tokens.dtype} {tokens.shape}")
  with pytest.raises(ValueError, match=f"tokens must be int32 .*{got}"):
    make_embedder().texts(np.ones((1, 2), np.float32), tokens)


@pytest.mark.slow
@pytest.mark.parametrize("function", ["run_process", "run_split"])
def test_two_processes(function):
  """Both have all rows and ranks; each decodes the rows of its own devices."""
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
  script = "import tests.evaluators.test_embedding as t; t.{}({}, {})"
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", script.format(function, port, index)],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]
  try:
    for process in processes:
      out, err = process.communicate(timeout=100)
      assert process.returncode == 0, err
      assert out.strip().endswith("ok"), out
  finally:
    for process in processes:
      process.kill()


def run_process(port: int, index: int) -> None:
  """Be one of two processes of two devices each."""
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 2)
  jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
  from evaluators import retrieval

  table = meshes.unit(np.random.default_rng(0).normal(size=(300, 4)))
  ids = np.random.default_rng(1).integers(0, 300, 21)
  embedder = make_embedder((2, 2, 1))
  assert embedder.mesh.is_multi_process
  params = embedding.to_global(table, jax.NamedSharding(embedder.mesh, jax.P()))
  z = embedder.images(params, meshes.images_of(ids))
  np.testing.assert_array_equal(z, table[ids])
  labels = {"label_Q": ids, "label_M": ids}
  got = retrieval.ranks(z, z[:, ::-1].copy(), mesh=embedder.mesh, **labels)
  want = retrieval.reference(z, z[:, ::-1], **labels)
  np.testing.assert_array_equal(got, want)
  print("ok")


@dataclasses.dataclass
class Records:
  """Records whose image is their number, and which rows were read."""

  num: int
  broken: Mapping[int, str] = dataclasses.field(default_factory=dict)
  rows: list[int] = dataclasses.field(default_factory=list)

  def __len__(self):
    return self.num

  def __getitem__(self, index):
    self.rows.append(index)
    if kind := self.broken.get(index):
      raise OSError(kind) if kind == "disk" else faults.ExampleError(kind, "!")
    return record_lib.Record(f"k{index}", bytes([index]), {"en": (f"{index}",)})


class Protocol:
  """Image protocol that a picture's number is enough for."""

  def apply(self, pixels):
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0, 1] = pixels.flat[0]
    return image


def _split(num, leaves_out=False, **broken):
  records = Records(num, {int(row[1:]): kind for row, kind in broken.items()})
  split = evaluation_split.Split(records, Protocol(), 2, "mine", leaves_out)
  return split, records


def _embedded(shape, split, **kwargs):
  embedder = make_embedder(shape)
  table = meshes.unit(np.random.default_rng(0).normal(size=(300, 4)))
  whole = jax.NamedSharding(embedder.mesh, jax.P())
  params = embedding.to_global(table, whole)
  return embedder.split(params, split, **kwargs), table


@pytest.fixture
def _images_of_a_byte(monkeypatch):
  monkeypatch.setattr(
    image_ops, "decode", lambda data: np.frombuffer(data, "u1")
  )


@pytest.mark.usefixtures("_images_of_a_byte")
@pytest.mark.parametrize("shape", meshes.SHAPES)
def test_rows_of_a_split_keep_their_places(shape, caplog):
  split, records = _split(21, True, r3="image_broken", r16="image_broken")
  part, table = _embedded(shape, split, rows=range(2, 21))
  kept = [row for row in range(2, 21) if row not in (3, 16)]
  assert part.rows == tuple(kept)
  assert part.keys == tuple(f"k{row}" for row in kept)
  assert part.texts[0] == {"en": ("2",)}
  np.testing.assert_array_equal(part.zimg_NE, table[kept])
  assert sorted(records.rows) == list(range(2, 21))
  assert "2 of 19 images are left out" in caplog.text
  split, _ = _split(3, True, r0="image_broken", r1="image_broken")
  part, table = _embedded(shape, split)
  np.testing.assert_array_equal(part.zimg_NE, table[2:3])
  split, _ = _split(1, True, r0="image_broken")
  with pytest.raises(ValueError, match="no image of the split can be used"):
    _embedded(shape, split)
  split, records = _split(50, r1="image_broken")
  with pytest.raises(ValueError, match="mine: example 1 cannot be used"):
    _embedded(shape, split)
  assert max(records.rows) < 8  # the first batch


def run_split(port: int, index: int) -> None:
  """Be one of two processes of two devices each, which read a split."""
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", 2)
  cluster.join(f"127.0.0.1:{port}", 2, index, 60)
  image_ops.decode = lambda data: np.frombuffer(data, "u1")
  # Rows of a batch of 8 that a process reads: half; with one shard, all.
  for shape, share in (((4, 1, 1), 2), ((2, 1, 2), 2), ((1, 1, 4), 1)):
    split, records = _split(21)
    part, table = _embedded(shape, split)
    np.testing.assert_array_equal(part.zimg_NE, table[:21])
    assert part.rows == tuple(range(21))
    assert part.keys == tuple(f"k{row}" for row in range(21))
    counts = [len(rows) for rows in cluster.gather(lambda: records.rows)]  # noqa: B023
    assert sum(counts) == 2 * 21 // share, counts
    assert max(counts) <= -(-24 // share), counts

    # Broken on one process alone, as a disk may be.
    broken = {"r1": "image_broken", "r9": "image_broken", "r20": "read_failed"}
    split, _ = _split(21, True, **(broken if index else {}))
    part, table = _embedded(shape, split)
    told = []
    other, _ = _embedded(shape, split, on_fault=lambda row, e: told.append(row))  # noqa: B023
    rows = cluster.gather(lambda: [part.rows, other.rows, told])  # noqa: B023
    assert rows[0] == rows[1]
    left = rows[0][2]
    assert list(other.rows) == [row for row in range(21) if row not in left]
    assert set(left) <= {1, 9, 20}
    assert share > 1 or left == [1, 9, 20]
    np.testing.assert_array_equal(part.zimg_NE, table[list(part.rows)])

    # All end with one message, none waits for another.
    for wrong, words in (
      (dict.fromkeys((f"r{i}" for i in range(21)), "image_broken"), "example"),
      (dict.fromkeys((f"r{i}" for i in range(21)), "disk"), "disk"),
      (dict.fromkeys((f"r{i}" for i in range(16, 21)), "disk"), "disk"),
    ):
      split, _ = _split(21, **(wrong if index else {}))
      errors = ValueError, OSError, cluster.ClusterError
      with pytest.raises(errors, match=words):
        _embedded(shape, split)
  print("ok")


@pytest.mark.slow
def test_a_split_is_embedded_with_few_batches_alive():
  ids = np.arange(100)
  live, alive = weakref.WeakSet(), []

  class Split:
    """A split that counts the batches of images that are still in use."""

    def __len__(self):
      return 100

    def batches(self, batch_size, rows, places):
      assert (rows, places) == (range(100), list(range(batch_size)))
      for start in range(0, 100, batch_size):
        rows = ids[start : start + batch_size]
        images = meshes.images_of(rows).view(_Watched)
        live.add(images)
        keys = tuple(map(str, rows))
        texts = ({"en": ("x",)},) * len(rows)
        yield evaluation_split.Batch(tuple(rows.tolist()), keys, texts, images)
        del images
        gc.collect()
        alive.append(len(live))

  table = meshes.unit(np.random.default_rng(0).normal(size=(100, 4)))
  embedder = make_embedder()
  gc.freeze()  # a collection looks at what this test makes, not at all of JAX
  try:
    examples = embedder.split(table, Split())
  finally:
    gc.unfreeze()
  np.testing.assert_array_equal(examples.zimg_NE, table)
  assert examples.keys == tuple(map(str, ids))
  assert len(examples.texts) == 100
  assert len(alive) == 13
  assert 1 <= max(alive) <= 2


class _Watched(np.ndarray):
  """An array that a weak reference can watch."""

  __hash__ = object.__hash__
