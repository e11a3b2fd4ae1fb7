"""Values of --topology, and the messages for invalid ones."""

import importlib.util

import pytest
from absl import app

from runtime import failures
from training.plan import topology


@pytest.mark.parametrize(
  ("name", "kind", "shape"),
  [
    ("v5e:16x16", "v5e", (16, 16)),
    ("v4:2x2x1", "v4", (2, 2, 1)),
    ("v6e:2x4", "v6e", (2, 4)),
  ],
)
def test_a_slice(name, kind, shape):
  got = topology.parse(name, num_slices=2)
  assert got.chip is not None
  assert (got.chip.name, got.shape, got.num_slices) == (kind, shape, 2)


def test_simulated_devices():
  got = topology.parse("cpu:8")
  assert got.chip is None
  assert got.shape == (8,)


@pytest.mark.parametrize(
  ("name", "num_slices", "words"),
  [
    (None, 1, ("--topology is missing", "v5e:16x16")),
    ("", 1, ("--topology is missing",)),
    ("v5e", 1, ("--topology", "KIND:SIZE", "'v5e'")),
    ("v5e:", 1, ("--topology", "KIND:SIZE")),
    ("v5e:0x2", 1, ("--topology", "'v5e:0x2'")),
    ("v5e:4xx4", 1, ("--topology", "'v5e:4xx4'")),
    ("v9:2x2", 1, ("--topology", "v4, v5e, v5p, v6e or cpu", "'v9:2x2'")),
    ("v4:2x2", 1, ("--topology", "3 dimensions", "v4:4x4x4", "'v4:2x2'")),
    ("v5e:2x2x2", 1, ("--topology", "2 dimensions", "v5e:4x4")),
    ("cpu:2x4", 1, ("--topology=cpu:N", "cpu:2x4")),
    ("cpu:8", 2, ("--topology=cpu:N", "--num_slices=2")),
    ("v5e:4x4", 0, ("--num_slices", "at least 1", "0")),
  ],
)
def test_what_it_may_not_be(name, num_slices, words):
  with pytest.raises(app.UsageError) as caught:
    topology.parse(name, num_slices)
  for word in words:
    assert word in str(caught.value)


def test_without_the_tpu_compiler(monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name, *args: None if name == "libtpu" else find(name, *args),
  )
  with pytest.raises(failures.RunError) as caught:
    topology.prepare("v5e:2x2")
  for word in ("--topology=v5e:2x2", "requirements-tpu.txt", "cpu:8"):
    assert word in str(caught.value)
  assert (failures._ROOT / "requirements-tpu.txt").exists()
