"""The parser and the counts, on programs that XLA really compiled."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import P

from training import flops
from training.plan import collectives, hlo, hlo_costs

AXES = ("data", "fsdp", "tensor")


def _mesh(shape=(2, 4, 1)):
  return jax.make_mesh(
    shape, AXES, axis_types=(jax.sharding.AxisType.Auto,) * len(AXES)
  )


def _compiled(fn, mesh, *shapes, specs, out):
  """Compile a shard_map of fn for float32 arrays of these shapes."""
  with jax.set_mesh(mesh):
    mapped = jax.shard_map(fn, in_specs=specs, out_specs=out, check_vma=False)
    args = [
      jax.ShapeDtypeStruct(s, jnp.float32, sharding=jax.NamedSharding(mesh, p))
      for s, p in zip(shapes, specs, strict=True)
    ]
    return jax.jit(mapped).lower(*args).compile()


def _traffic(fn, out=P(("data", "fsdp"))):
  """Return {(kind, axes): (count, bytes)} of fn on a part [8, 16] of x."""
  mesh = _mesh()
  specs = (P(("data", "fsdp")),)
  compiled = _compiled(fn, mesh, (64, 16), specs=specs, out=out)
  rows = collectives.traffic(hlo.parse(compiled.as_text()), mesh)
  assert all(row.network == "ici" for row in rows)
  return {(r.kind, r.axes): (r.count, r.num_bytes) for r in rows}


# Bytes of one device's part of x.
PART = 8 * 16 * 4


@pytest.mark.parametrize(
  ("fn", "expected"),
  [
    # A ring sends (n - 1) / n of the array, twice for an all-reduce.
    (
      lambda x: jax.lax.psum(x, "data"),
      {("all-reduce", "data"): (1, 2 * PART / 2)},
    ),
    (
      lambda x: jax.lax.psum(x, "fsdp"),
      {("all-reduce", "fsdp"): (1, 2 * PART * 3 / 4)},
    ),
    (
      lambda x: jax.lax.psum(x, ("data", "fsdp")),
      {("all-reduce", "data+fsdp"): (1, 2 * PART * 7 / 8)},
    ),
    (
      lambda x: jax.lax.all_gather(x, "fsdp", tiled=True)[:8] * 2,
      {("all-gather", "fsdp"): (1, 3 * PART)},
    ),
    (
      lambda x: jax.lax.psum_scatter(x, "fsdp", tiled=True),
      {("reduce-scatter", "fsdp"): (1, PART * 3 / 4)},
    ),
    (
      lambda x: jax.lax.all_to_all(x, "fsdp", 0, 0, tiled=True),
      {("all-to-all", "fsdp"): (1, PART * 3 / 4)},
    ),
    (
      lambda x: jax.lax.ppermute(x, "fsdp", [(i, (i + 1) % 4) for i in (0, 1)]),
      {("collective-permute", "fsdp"): (1, PART)},
    ),
  ],
  ids=(
    "all-reduce data",
    "all-reduce fsdp",
    "all-reduce both",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "permute",
  ),
)
def test_one_collective(fn, expected):
  assert _traffic(fn) == expected


def test_collectives_in_nested_scans_count_as_often_as_they_run():
  def step(x, _):
    x = jax.lax.ppermute(x, "fsdp", [(i, (i + 1) % 4) for i in range(4)])
    inner = jax.lax.scan(
      lambda c, _: (jax.lax.psum(c, "data") / 2, None), x, None, length=3
    )
    return jnp.sin(inner[0]), None

  got = _traffic(lambda x: jax.lax.scan(step, x, None, length=5)[0])
  assert got == {
    ("collective-permute", "fsdp"): (5, 5 * PART),
    ("all-reduce", "data"): (15, 15 * 2 * PART / 2),
  }


def test_a_mesh_axis_of_one_device_sends_nothing():
  assert _traffic(lambda x: jax.lax.psum(x, "tensor") * 2) == {}


@pytest.mark.parametrize(
  ("text", "groups"),
  [
    (
      "replica_groups={{0,4},{1,5},{2,6},{3,7}}",
      [[0, 4], [1, 5], [2, 6], [3, 7]],
    ),
    ("replica_groups={}", [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ("replica_groups=[2,4]<=[8]", [[0, 1, 2, 3], [4, 5, 6, 7]]),
    ("replica_groups=[4,2]<=[2,4]T(1,0)", [[0, 4], [1, 5], [2, 6], [3, 7]]),
    (
      "replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=4] {'axis_2'}, x",
      [[0, 1, 2, 3], [4, 5, 6, 7]],
    ),
    (
      "replica_groups=mesh['a'=2,'b'=4] {'a'}",
      [[0, 4], [1, 5], [2, 6], [3, 7]],
    ),
    (
      "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}",
      [[0, 4], [1, 5], [2, 6], [3, 7]],
    ),
    (
      "replica_groups=mesh['a'=8] {'a':(2)2}",
      [[0, 2], [1, 3], [4, 6], [5, 7]],
    ),
  ],
)
def test_replica_groups(text, groups):
  got = collectives.replica_groups(f"channel_id=1, {text}, dimensions", 8)
  assert sorted(map(sorted, got)) == groups


def test_replica_groups_in_an_unknown_form():
  with pytest.raises(ValueError, match="not known"):
    collectives.replica_groups("replica_groups=all", 8)


# Output of XLA for TPUs for an all-gather spread over kernels, and for
# a loop; cut down from a compiled training step.
_TPU = """
HloModule jit_step, is_scheduled=true

%start (p: bf16[1,64]) -> (bf16[1,64], bf16[2,64]) {
  %p = bf16[1,64]{1,0:T(8,128)} parameter(0)
  %all-gather.1 = bf16[2,64]{1,0:T(8,128)} all-gather(%p), channel_id=2, \
replica_groups=[1,2]<=[2], dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %t = (bf16[1,64]{1,0}, bf16[2,64]{1,0}) tuple(%p, %all-gather.1)
}

%push (p.1: bf16[1,64]) -> bf16[2,64] {
  %p.1 = bf16[1,64]{1,0:T(8,128)} parameter(0)
  ROOT %all-gather.2 = bf16[2,64]{1,0:T(8,128)} all-gather(%p.1), \
channel_id=2, replica_groups=[1,2]<=[2], dimensions={0}, \
frontend_attributes={chain_id="0"}
}

%condition (c: (s32[], bf16[1,64])) -> pred[] {
  %limit = s32[]{:T(128)} constant(7)
  %c = (s32[]{:T(128)}, bf16[1,64]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

%body (b: (s32[], bf16[1,64])) -> (s32[], bf16[1,64]) {
  %b = (s32[]{:T(128)}, bf16[1,64]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%b), index=0
  %x.1 = bf16[1,64]{1,0:T(8,128)} get-tuple-element(%b), index=1
  %fusion.1 = bf16[2,64]{1,0:T(8,128)} fusion(%x.1), kind=kCustom, calls=%push
  ROOT %next = (s32[]{:T(128)}, bf16[1,64]{1,0:T(8,128)}) tuple(%i.1, %x.1)
}

ENTRY %main (x: bf16[1,64]) -> bf16[1,64] {
  %x = bf16[1,64]{1,0:T(8,128)} parameter(0)
  %two = s32[]{:T(128)} constant(2)
  %copy.1 = s32[]{:T(128)} copy(%two)
  %async-collective-start = (bf16[1,64]{1,0}, bf16[2,64]{1,0}) fusion(%x), \
kind=kCustom, calls=%start
  %initial = (s32[]{:T(128)}, bf16[1,64]{1,0:T(8,128)}) tuple(%copy.1, %x)
  %loop = (s32[]{:T(128)}, bf16[1,64]{1,0:T(8,128)}) while(%initial), \
condition=%condition, body=%body
  ROOT %out = bf16[1,64]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""


def test_a_loop_whose_length_is_only_in_its_condition():
  program = hlo.parse(_TPU)
  assert program.runs["body"] == 7 - 2
  assert program.unknown_loops == 0


def test_a_loop_of_unknown_length_is_reported():
  program = hlo.parse(_TPU.replace("direction=LT", "direction=NE"))
  assert program.runs["body"] == 1
  assert program.unknown_loops == 1


def test_a_gather_spread_over_kernels_counts_once():
  rows = collectives.traffic(
    hlo.parse(_TPU),
    jax.make_mesh(
      (2,),
      ("data",),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:2],
    ),
  )
  assert rows == [collectives.Traffic("all-gather", "data", "ici", 1, 64 * 2)]


def test_text_that_is_no_program():
  with pytest.raises(ValueError, match="no ENTRY"):
    hlo.parse("nothing")


def _mlp(x, ws):
  def layer(x, w):
    return jax.nn.gelu(x @ w), None

  return jnp.sum(jax.lax.scan(layer, x, ws)[0])


def test_flops_of_a_scan_and_its_gradient_equal_the_formula():
  x = jax.ShapeDtypeStruct((32, 64), jnp.float32)
  ws = jax.ShapeDtypeStruct((6, 64, 64), jnp.float32)
  grad = jax.grad(_mlp, (0, 1))
  program = hlo.parse(jax.jit(grad).lower(x, ws).compile().as_text())
  expected = flops.count(grad, x, ws)
  assert expected == 6 * 3 * 2 * 32 * 64 * 64
  assert hlo_costs.flops(program) == expected


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_flops_of_a_convolution_leave_out_padding(padding):
  def conv(x, w):
    return jax.lax.conv_general_dilated(
      x, w, (2, 2), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  x = jax.ShapeDtypeStruct((2, 9, 8, 3), jnp.float32)
  w = jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.float32)
  compiled = jax.jit(conv).lower(x, w).compile()
  # XLA counts these exactly, and there is no loop.
  expected = compiled.cost_analysis()["flops"]
  assert hlo_costs.flops(hlo.parse(compiled.as_text())) == expected


@pytest.mark.parametrize("num_out", [1, 5, 12])
@pytest.mark.parametrize("stride", [1, 2, 11])
@pytest.mark.parametrize("dilation", [1, 3, 12])
def test_taps_of_a_window_equal_those_tried_one_by_one(
  num_out, stride, dilation
):
  for pad in (0, 2, 11):
    window = {
      "stride": stride,
      "pad": pad,
      "lhs_dilate": dilation,
      "rhs_dilate": 2,
    }
    expected = 0
    for o in range(num_out):
      for k in range(12):
        position = o * stride + 2 * k - pad
        inside = 0 <= position < (4 - 1) * dilation + 1
        expected += inside and position % dilation == 0
    assert hlo_costs._taps(4, 12, num_out, window) == expected


def test_memory_traffic_without_loops_is_near_xlas_own():
  def attend(q, k, v):
    return jnp.sum(jax.nn.dot_product_attention(q, k, v) ** 2)

  shape = jax.ShapeDtypeStruct((4, 32, 2, 16), jnp.float32)
  compiled = (
    jax.jit(jax.grad(attend, (0, 1, 2))).lower(shape, shape, shape).compile()
  )
  got = hlo_costs.memory_bytes(hlo.parse(compiled.as_text()))
  # Both count operands and results; they differ in scalars.
  assert got == pytest.approx(
    compiled.cost_analysis()["bytes accessed"], rel=0.01
  )


def test_a_scan_reads_one_slice_of_its_stack_at_a_time():
  def total(xs):
    return jax.lax.scan(lambda c, x: (jnp.sin(c + x), None), xs[0], xs)[0]

  length, width = 50, 1000
  xs = jax.ShapeDtypeStruct((length, width), jnp.float32)
  program = hlo.parse(jax.jit(total).lower(xs).compile().as_text())
  got = hlo_costs.memory_bytes(program)
  row = width * 4
  # Each turn reads the carry and a row and writes the carry: 3 rows, a few
  # more for copies; the whole stack in each turn would be 50 rows and more.
  assert 3 * length * row <= got <= 8 * length * row


# Output of XLA for TPUs for a gradient's sum over two slices of four chips:
# each slice's program numbers its own devices, hosts do what is between them.
_SLICES = """
HloModule jit_step, is_scheduled=true

%all-reduce-scatter.1 (p: bf16[32,16]) -> bf16[16,16] {
  %p = bf16[32,16]{1,0} parameter(0)
  %all-reduce.1 = bf16[32,16]{1,0} all-reduce(%p), channel_id=1, \
replica_groups={{0,1},{2,3}}, use_global_device_ids=true, to_apply=%add
  %zero = u32[] constant(0)
  ROOT %part = bf16[16,16]{1,0} dynamic-slice(%all-reduce.1, %zero, %zero)
}

ENTRY %main (x: bf16[32,16]) -> bf16[16,16] {
  %x = bf16[32,16]{1,0} parameter(0)
  %fusion.1 = bf16[16,16]{1,0} fusion(%x), kind=kCustom, \
calls=%all-reduce-scatter.1
  %after-all = token[] after-all()
  %send = (bf16[16,16]{1,0}, u32[], token[]) send(%fusion.1, %after-all), \
channel_id=3, is_host_transfer=true, frontend_attributes={\
_xla_host_transfer_handler_name="xla_megascale_runtime",\
_xla_megascale_transfer_type="ALL_REDUCE"}
  %send-done = token[] send-done(%send), channel_id=3
  %recv = (bf16[16,16]{1,0}, u32[], token[]) recv(%after-all), channel_id=4
  ROOT %recv-done = bf16[16,16]{1,0} recv-done(%recv), channel_id=4
}
"""


def test_several_slices():
  # Two slices of 2 x 2 chips, one after the other along "data".
  chips = [types.SimpleNamespace(slice_index=i // 4) for i in range(8)]
  mesh = types.SimpleNamespace(
    axis_names=("data", "fsdp"), devices=np.array(chips).reshape(4, 2), size=8
  )
  whole = 32 * 16 * 2
  assert collectives.traffic(hlo.parse(_SLICES), mesh) == [
    # Half of the array is left to each chip; in a ring of two slices each
    # sends all of that half: one part to be added, one that is added up.
    collectives.Traffic("all-reduce", "data", "dcn", 1, whole / 2),
    collectives.Traffic("reduce-scatter", "fsdp", "ici", 1, whole / 2),
  ]
