"""Checkpoints come back to the bit, or not at all."""

import dataclasses
import functools
import json
import pathlib
import shutil
import time
import types

import jax
import numpy as np
import pytest
from absl import logging
from orbax.checkpoint import checkpoint_manager
from orbax.checkpoint.experimental.v1._src.synchronization import compatibility

from runtime import mesh as mesh_lib
from tests import runs
from training import checkpointing

# The fixture that its tests share takes 10 s.
pytestmark = pytest.mark.slow

_DAMAGES = ("truncate", "flip", "delete")


def _mesh(count):
  shape = {1: (1, 1, 1), 4: (1, 2, 2), 8: (2, 2, 2)}[count]
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(*shape), jax.devices()[:count])


@pytest.fixture(scope="module")
def config(runner):
  return runs.make_config({"data.cache_dir": str(runner.cache_dir)})


@functools.cache
def _abstract(config, count):
  return runs.abstract_state(config, _mesh(count))[0]


def _make_state(config, step, count=1):
  """Return random arrays, different for each step, as a state on `count`."""
  abstract = _abstract(config, count)
  rng = np.random.default_rng(step)

  def make(shape):
    if shape.dtype == np.int32:
      return jax.device_put(np.full(shape.shape, step, "i4"), shape.sharding)
    x = rng.normal(size=shape.shape).astype(shape.dtype)
    return jax.device_put(x, shape.sharding)

  return jax.tree.map(make, abstract)


def _assert_equal(got, expected):
  paths = [str(path) for path, _ in jax.tree.leaves_with_path(expected)]
  for path, x, y in zip(
    paths, jax.tree.leaves(got), jax.tree.leaves(expected), strict=True
  ):
    assert x.dtype == y.dtype, path
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path


def _advance(iterator, count):
  for _ in range(count):
    batch = next(iterator)
  return batch


@pytest.fixture(scope="module")
def saved(config, tmp_path_factory):
  """Return a folder with steps 3 and 5, and the batch that follows each."""
  # Orbax looks for its files by a pattern below the folder.
  folder = tmp_path_factory.mktemp("saved [1] {a,b}*") / "checkpoints"
  checkpointer = checkpointing.Checkpointer(folder, keep=5)
  iterator = runs.make_iterator(config)
  following = {}
  for step, advance in ((3, 3), (5, 2)):
    _advance(iterator, advance)
    # On 8 devices: each file holds parts of arrays.
    checkpointer.save(_make_state(config, step, 8), iterator, step)
  checkpointer.close()
  iterator = runs.make_iterator(config)
  following[3] = _advance(iterator, 4)
  following[5] = _advance(iterator, 2)
  return folder, following


def _restore(folder, config, count=1):
  """Return (state or None, the next batch)."""
  checkpointer = checkpointing.Checkpointer(folder, keep=5)
  abstract = _abstract(config, count)
  iterator = runs.make_iterator(config)
  try:
    state = checkpointer.restore(abstract, iterator)
  finally:
    checkpointer.close()
  return state, next(iterator)


def test_a_clock_that_is_set_ahead_ends_no_save(config, tmp_path, monkeypatch):
  day = 24 * 3600
  asked = []

  def later():
    asked.append(time.time() + day)
    return asked[-1]

  # A save compares the clock of its end with that of its beginning.
  monkeypatch.setattr(compatibility, "time", types.SimpleNamespace(time=later))
  folder = tmp_path / "checkpoints"
  checkpointer = checkpointing.Checkpointer(folder, keep=5)
  checkpointer.save(_make_state(config, 3, 1), runs.make_iterator(config), 3)
  checkpointer.close()
  assert asked
  restored, _ = _restore(folder, config)
  assert int(restored.step) == 3


@pytest.mark.parametrize("ends_by_closing", [False, True])
def test_no_two_threads_wait_for_a_save(
  config, tmp_path, monkeypatch, ends_by_closing
):
  """Two that join one thread at the same moment may both fail."""
  join = checkpoint_manager._FinalizeThread.join
  joining, most = [0], []

  def slow(self, *args, **kwargs):
    joining[0] += 1
    most.append(joining[0])
    time.sleep(0.2)
    try:
      join(self, *args, **kwargs)
    finally:
      joining[0] -= 1

  monkeypatch.setattr(checkpoint_manager._FinalizeThread, "join", slow)
  checkpointer = checkpointing.Checkpointer(tmp_path / "checkpoints", keep=5)
  checkpointer.save(_make_state(config, 3, 1), runs.make_iterator(config), 3)
  if not ends_by_closing:
    checkpointer.wait()
  checkpointer.close()
  assert max(most) == 1


def test_a_folder_that_tensorstore_would_misread(tmp_path):
  with pytest.raises(ValueError, match="has a backslash.* another name"):
    checkpointing.Checkpointer(tmp_path / "a\\b", keep=1)


@pytest.mark.parametrize("count", [8, 4, 1])
def test_round_trip(count, saved, config):
  folder, following = saved
  state, batch = _restore(folder, config, count)
  _assert_equal(state, _make_state(config, 5))
  for x, expected in zip(
    jax.tree.leaves(state),
    jax.tree.leaves(_abstract(config, count)),
    strict=True,
  ):
    assert x.sharding == expected.sharding
  for name, rows in following[5].items():
    np.testing.assert_array_equal(batch[name], rows)


def test_another_mesh_is_told(saved, config, capsys):
  folder, _ = saved
  _restore(folder, config, 8)
  assert "was saved with" not in capsys.readouterr().err
  _restore(folder, config, 4)
  assert capsys.readouterr().err == (
    "Checkpoint of step 5 was saved with mesh data=2, fsdp=2, tensor=2;"
    " processes 1; now mesh data=1, fsdp=2, tensor=2; processes 1: sums are"
    " rounded differently from here on\n"
  )


def test_no_checkpoint(config, tmp_path):
  state, batch = _restore(tmp_path / "checkpoints", config)
  assert state is None
  first = next(runs.make_iterator(config))
  np.testing.assert_array_equal(batch["tokens"], first["tokens"])


def _files(folder):
  return sorted(
    str(path.relative_to(folder))
    for path in folder.rglob("*")
    if path.is_file()
  )


def _damage(path: pathlib.Path, how: str):
  content = path.read_bytes()
  if how == "delete":
    path.unlink()
  elif how == "truncate":
    path.write_bytes(content[: len(content) // 2])
  else:
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 0x10])
    path.write_bytes(content[:middle] + flipped + content[middle + 1 :])


class _Reports:
  """Collects what is logged as an error."""

  def __init__(self, monkeypatch):
    self.lines: list[str] = []
    monkeypatch.setattr(
      logging, "error", lambda text, *args: self.lines.append(text % args)
    )


@pytest.mark.parametrize("how", _DAMAGES)
def test_every_damaged_file(how, saved, config, tmp_path, monkeypatch):
  """Restoring gives this checkpoint, or with a report the one before."""
  folder, following = saved
  reports = _Reports(monkeypatch)
  expected = {step: _make_state(config, step) for step in (3, 5)}
  outcomes = {}
  names = _files(folder / "5")
  assert len(names) > 15
  for name in names:
    if how != "delete" and not (folder / "5" / name).stat().st_size:
      continue  # there is nothing in it to damage
    copy = shutil.copytree(folder, tmp_path / "copy")
    _damage(copy / "5" / name, how)
    reports.lines.clear()
    state, batch = _restore(copy, config)
    step = int(state.step)
    outcomes[name] = step
    assert step in (3, 5), name
    _assert_equal(state, expected[step])
    np.testing.assert_array_equal(
      batch["images"], following[step]["images"], name
    )
    if step == 3:
      assert "step 5 is not usable" in "".join(reports.lines), name
      # Nothing stands in the way of saving step 5 again.
      assert not (copy / "5").exists(), name
      assert (tmp_path / "rejected" / "5").exists(), name
      shutil.rmtree(tmp_path / "rejected")
    shutil.rmtree(copy)
  # Something of it matters: else nothing was tested.
  assert 3 in outcomes.values()
  arrays = [name for name in names if "/d/" in name]
  if how != "flip":  # a flipped bit may be in padding
    assert any(outcomes.get(name) == 3 for name in arrays)


def test_a_rejected_step_is_saved_again(saved, config, tmp_path):
  folder, _ = saved
  copy = shutil.copytree(folder, tmp_path / "copy")
  for state in (_make_state(config, 5), _make_state(config, 6)):
    _damage(copy / "5" / "_CHECKPOINT_METADATA", "delete")
    checkpointer = checkpointing.Checkpointer(copy, keep=5)
    iterator = runs.make_iterator(config)
    restored = checkpointer.restore(_abstract(config, 1), iterator)
    assert int(restored.step) == 3
    checkpointer.save(state, iterator, 5)
    checkpointer.close()
    _assert_equal(_restore(copy, config)[0], state)


def test_every_byte_of_the_arrays_is_covered(saved, config, tmp_path):
  """Flip one of many places of the file that holds the parameters."""
  folder, _ = saved
  files = (folder / "5" / "params").rglob("d/*")
  largest = max(files, key=lambda p: p.stat().st_size)
  name = largest.relative_to(folder)
  content = largest.read_bytes()
  rng = np.random.default_rng(0)
  for place in rng.integers(0, len(content), 6):
    copy = shutil.copytree(folder, tmp_path / "copy")
    changed = bytearray(content)
    changed[place] ^= 1 << int(rng.integers(8))
    (copy / name).write_bytes(changed)
    state, _ = _restore(copy, config)
    _assert_equal(state, _make_state(config, int(state.step)))
    shutil.rmtree(copy)


def test_an_array_that_reads_well_but_differs(saved, config, tmp_path):
  """Another step's parameters under this name: whole, but not these."""
  folder, _ = saved
  copy = shutil.copytree(folder, tmp_path / "copy")
  shutil.rmtree(copy / "5" / "params")
  shutil.copytree(folder / "3" / "params", copy / "5" / "params")
  state, _ = _restore(copy, config)
  assert int(state.step) == 3


def test_another_position_of_the_data(saved, config, tmp_path):
  folder, _ = saved
  copy = shutil.copytree(folder, tmp_path / "copy")
  shutil.rmtree(copy / "5" / "data")
  shutil.copytree(folder / "3" / "data", copy / "5" / "data")
  state, _ = _restore(copy, config)
  assert int(state.step) == 3


def test_all_broken(saved, config, tmp_path):
  folder, _ = saved
  copy = shutil.copytree(folder, tmp_path / "copy")
  for path in copy.glob("*/params/d/*"):
    _damage(path, "truncate")
  with pytest.raises(checkpointing.CheckpointError) as raised:
    _restore(copy, config)
  text = str(raised.value)
  assert "step 5 (" in text
  assert "step 3 (" in text
  assert str(copy) in text
  assert "another --workdir" in text
  # Nothing was moved: they may be mended by hand.
  assert _files(copy) == _files(folder)


def test_the_only_one_without_its_metadata(saved, config, tmp_path):
  folder, _ = saved
  copy = shutil.copytree(folder, tmp_path / "copy")
  shutil.rmtree(copy / "3")
  (copy / "5" / "_CHECKPOINT_METADATA").unlink()
  with pytest.raises(checkpointing.CheckpointError, match="step 5"):
    _restore(copy, config)


def test_restore_params(saved, config):
  folder, _ = saved
  checkpointer = checkpointing.Checkpointer(folder, keep=None)
  step, params = checkpointer.restore_params(_abstract(config, 4).params)
  checkpointer.close()
  assert step == 5
  _assert_equal(params, _make_state(config, 5).params)


def test_keep(config, tmp_path):
  folder = tmp_path / "checkpoints"
  checkpointer = checkpointing.Checkpointer(folder, keep=2)
  iterator = runs.make_iterator(config)
  for step in (1, 2, 7, 9):
    checkpointer.save(_make_state(config, step), iterator, step)
  checkpointer.wait()
  assert checkpointer.steps() == [7, 9]
  checkpointer.close()
  assert sorted(p.name for p in folder.iterdir()) == ["7", "9"]


def test_arrays_may_be_overwritten_while_saving(config, tmp_path):
  """The next step takes over the state's memory: the save has its own."""
  folder = tmp_path / "checkpoints"
  checkpointer = checkpointing.Checkpointer(folder, keep=2)
  state = _make_state(config, 4)
  checkpointer.save(state, runs.make_iterator(config), 4)
  overwrite = jax.jit(
    functools.partial(jax.tree.map, lambda x: x + 1), donate_argnums=0
  )
  jax.block_until_ready(overwrite(state))
  checkpointer.close()
  restored, _ = _restore(folder, config)
  _assert_equal(restored, _make_state(config, 4))


def test_a_position_is_text(config):
  position = json.loads(
    json.dumps(runs.make_iterator(config).get_state(), default=str)
  )
  assert position


@pytest.mark.parametrize("field", ["every_steps", "keep"])
def test_config(field):
  good = checkpointing.CheckpointConfig(every_steps=1, keep=1)
  good.check()
  with pytest.raises(ValueError, match=f"checkpoint.{field} .*got 0"):
    dataclasses.replace(good, **{field: 0}).check()
