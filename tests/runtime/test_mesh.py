"""Meshes, and where parameters and optimizer state lie."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P

from runtime import mesh as mesh_lib
from runtime import param_rules
from tests import runs
from training import train_state


def _mesh(data, fsdp, tensor):
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(data, fsdp, tensor))


@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ((-1, 1, 1), (8, 1, 1)),
    ((2, -1, 2), (2, 2, 2)),
    ((1, 4, -1), (1, 4, 2)),
    ((8, 1, -1), (8, 1, 1)),
    ((4, 2, 1), (4, 2, 1)),
  ],
)
def test_mesh_shape(sizes, expected):
  mesh = _mesh(*sizes)
  assert tuple(mesh.shape.values()) == expected
  assert mesh.axis_names == ("data", "fsdp", "tensor")
  assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


@pytest.mark.parametrize(
  ("sizes", "words"),
  [
    ((3, 1, 1), "multiply to the 8 devices.*mesh.data=3"),
    ((3, -1, 1), "multiply to the 8 devices.*mesh.fsdp=-1"),
    ((16, -1, 1), "multiply to the 8 devices"),
    ((-1, -1, 1), "at most one may be -1"),
    ((0, 1, 8), "at least 1.*mesh.data=0"),
    ((-2, 4, -1), "at least 1.*mesh.data=-2"),
  ],
)
def test_mesh_refused(sizes, words):
  with pytest.raises(ValueError, match=words):
    _mesh(*sizes)


@dataclasses.dataclass(frozen=True)
class _Device:
  """Attributes of a device that a mesh is ordered by."""

  id: int
  slice_index: int
  coords: tuple[int, int, int]
  platform: str = "tpu"
  device_kind: str = "TPU v4"
  process_index: int = 0
  core_on_chip: int = 0


def _slices(num_slices, platform="tpu"):
  """Return slices of 2 x 2 x 1 chips, not in order."""
  devices = [
    _Device(4 * index + 2 * y + x, index, (x, y, 0), platform)
    for index in range(num_slices)
    for y in range(2)
    for x in range(2)
  ]
  return devices[::-1]


@pytest.mark.parametrize(
  ("sizes", "shape"),
  [((-1, 2, 1), (4, 2, 1)), ((2, 2, -1), (2, 2, 2)), ((8, 1, 1), (8, 1, 1))],
)
def test_slices_lie_along_data(sizes, shape):
  config = mesh_lib.MeshConfig(*sizes)
  devices = mesh_lib.make_mesh(config, _slices(2)).devices
  assert devices.shape == shape
  half = shape[0] // 2
  for index, part in enumerate((devices[:half], devices[half:])):
    assert {device.slice_index for device in part.flat} == {index}
  # Within a slice as JAX orders it alone.
  alone = jax.make_mesh(
    (half, *shape[1:]), ("a", "b", "c"), devices=_slices(2)[:4]
  )
  np.testing.assert_array_equal(devices[half:], alone.devices)


def test_axes_that_do_not_fit_into_a_slice():
  config = mesh_lib.MeshConfig(1, 8, 1)
  with pytest.raises(ValueError, match="mesh.data=1 .* multiple of the 2 sl"):
    mesh_lib.make_mesh(config, _slices(2))
  # Between machines with GPUs it is allowed.
  devices = mesh_lib.make_mesh(config, _slices(2, "gpu")).devices
  assert [d.slice_index for d in devices.flat] == [0] * 4 + [1] * 4


def test_slices_of_different_sizes():
  config = mesh_lib.MeshConfig(-1, 1, 1)
  with pytest.raises(ValueError, match=r"equal size; they have \[2, 4\]"):
    mesh_lib.make_mesh(config, _slices(2)[:6])


def test_batch_size():
  mesh = _mesh(2, 2, 2)
  mesh_lib.check_batch_size(4, mesh)  # tensor does not split it
  for size in (6, 0, -4):
    with pytest.raises(ValueError, match=f"2 x 2; got {size}"):
      mesh_lib.check_batch_size(size, mesh)


# Suffix of a path -> axes of its last dimensions on the default mesh. What is
# not listed is on every device.
_EXPECTED = {
  **{
    f"attn/{name}/kernel": ("fsdp", "tensor")
    for name in ("query", "key", "value")
  },
  **{f"attn/{name}/bias": ("tensor",) for name in ("query", "key", "value")},
  "attn/out/kernel": ("tensor", "fsdp"),
  "mlp/up/kernel": ("fsdp", "tensor"),
  "mlp/up/bias": ("tensor",),
  "mlp/down/kernel": ("tensor", "fsdp"),
  "token_embedding": ("tensor", "fsdp"),
}


def _expected_spec(name, ndim):
  for suffix, axes in _EXPECTED.items():
    if name.endswith(suffix):
      return (None,) * (ndim - len(axes)) + axes, suffix
  return (None,) * ndim, ""


@pytest.fixture(scope="module")
def made():
  """Return the initial state on a mesh of 2 x 2 x 2, and its abstract."""
  config = runs.make_config()
  mesh = _mesh(2, 2, 2)
  abstract, init_params, opt = runs.abstract_state(config, mesh)
  return train_state.init(init_params, opt, abstract, 0), abstract


@pytest.mark.slow
def test_rules_of_base_split_what_they_should(made):
  state, _ = made
  seen = set()
  for path, x in jax.tree.leaves_with_path(state.params):
    name = param_rules.path_string(path)
    axes, suffix = _expected_spec(name, x.ndim)
    seen.add(suffix)
    assert tuple(x.sharding.spec) == axes, name
    # And really so: 4 different shards where two axes split, 2 where one.
    split = 2 ** sum(axis is not None for axis in axes)
    assert x.addressable_shards[0].data.size * split == x.size, name
  assert seen == {"", *_EXPECTED}


def test_init_builds_every_array_where_it_will_lie(made):
  state, abstract = made
  for (path, x), expected in zip(
    jax.tree.leaves_with_path(state), jax.tree.leaves(abstract), strict=True
  ):
    assert x.sharding == expected.sharding, path
    assert (x.shape, x.dtype) == (expected.shape, expected.dtype), path


@pytest.mark.slow
def test_init_compiles_without_a_whole_parameter():
  """No device holds the embedding whole, not even for a moment."""
  config = runs.make_config({"data.vocab_size": 65536})
  abstract, init_params, opt = runs.abstract_state(config, _mesh(1, 4, 2))
  init = jax.jit(
    lambda key: train_state.init(init_params, opt, abstract, 0),
  )
  memory = init.lower(jax.random.key(0)).compile().memory_analysis()
  whole = 65536 * 16 * 4
  # The embedding and its two moments, an eighth each, and the rest.
  assert memory.output_size_in_bytes < whole
  assert memory.temp_size_in_bytes < whole


def test_init_is_the_same_on_every_mesh(made):
  state, _ = made
  config = runs.make_config()
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  abstract, init_params, opt = runs.abstract_state(config, mesh)
  alone = train_state.init(init_params, opt, abstract, 0)
  for (path, x), y in zip(
    jax.tree.leaves_with_path(state), jax.tree.leaves(alone), strict=True
  ):
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y), str(path))


@pytest.mark.parametrize("name", ["adamw", "lamb", "adafactor"])
def test_optimizer_state_lies_where_its_parameter_is(name):
  config = runs.make_config({"optimizer.name": name})
  abstract, _, _ = runs.abstract_state(config, _mesh(2, 2, 2))
  shardings = {
    param_rules.path_string(path): (x.shape, x.sharding)
    for path, x in jax.tree.leaves_with_path(abstract.params)
  }
  found = dict.fromkeys(shardings, 0)
  for path, x in jax.tree.leaves_with_path(abstract.opt_state):
    # The longest: "img/pool/.../bias" also ends in the logits' "bias".
    of = max(
      (p for p in shardings if param_rules.path_string(path).endswith(f"/{p}")),
      key=len,
      default=None,
    )
    if of is None or x.shape != shardings[of][0]:
      assert x.sharding.is_fully_replicated
      # Counts, and what Adafactor keeps instead of a factored moment.
      assert x.size == 1, path
    else:
      assert x.sharding == shardings[of][1], path
      found[of] += 1
  # Two moments of Adam; a first and an unfactored second of Adafactor.
  assert set(found.values()) == {2}


def _shardings(partition_rules, shape=(4, 6), mesh=None):
  params = {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}
  return mesh_lib.param_shardings(
    partition_rules, params, mesh or _mesh(2, 2, 2)
  )["kernel"].spec


def test_axes_count_from_the_last_dimension():
  assert _shardings(((".*", ("fsdp",)),)) == P(None, "fsdp")
  assert _shardings(((".*", ("fsdp", None)),)) == P("fsdp", None)


@pytest.mark.parametrize(
  ("axes", "words"),
  [
    (("tensor", None, None), r"kernel has 2 dimensions, its rule names 3"),
    (("model",), "axes of kernel must be None or among.*'model'"),
  ],
)
def test_axes_refused(axes, words):
  with pytest.raises(ValueError, match=words):
    _shardings(((".*", axes),))


def test_a_dimension_that_an_axis_does_not_divide():
  with pytest.raises(
    ValueError, match=r"kernel \(4, 6\) cannot be split over mesh.fsdp=4: 6"
  ):
    _shardings(((".*", ("fsdp",)),), mesh=_mesh(2, 4, 1))


def test_make_global_splits_rows():
  mesh = _mesh(2, 2, 2)
  rows = np.arange(24).reshape(8, 3)
  x = mesh_lib.make_global({"x": rows}, mesh)["x"]
  np.testing.assert_array_equal(np.asarray(x), rows)
  assert {s.data.shape for s in x.addressable_shards} == {(2, 3)}


def test_rows_of_one_process():
  assert mesh_lib.local_rows(8, _mesh(2, 2, 2)) == list(range(8))
