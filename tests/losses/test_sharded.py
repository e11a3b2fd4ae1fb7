"""Every sharded loss equals its reference, in value and four gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import losses
from tests.losses import pairs

_NUM_ROWS = 24


def _inputs(size=_NUM_ROWS):
  return *pairs.embeddings(0, size), pairs.labels(0, size)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (8,), (2, 4), (2, 2, 2)])
@pytest.mark.parametrize(
  ("name", "smoothing"), [("sigmoid", 0.0), ("softmax", 0.1), ("unicl", 0.0)]
)
def test_equals_reference_on_every_mesh(name, smoothing, shape):
  module = losses.LOSSES[name]
  want = pairs.reference_grads(
    module.reference, *_inputs(), label_smoothing=smoothing
  )
  got = pairs.sharded_grads(
    module.sharded,
    pairs.make_mesh(*shape),
    *_inputs(),
    label_smoothing=smoothing,
    block_size=4,
  )
  pairs.assert_close(got, want)
  assert abs(float(got[1][2])) > 1e-3  # scale matters
  assert np.abs(got[1][0]).max() > 1e-3


# 11 rows a device, which no two streams of blocks divide.
@pytest.mark.slow
@pytest.mark.parametrize("block_size", [1, 4, 11, 1000])
@pytest.mark.parametrize(("name", "smoothing"), pairs.CASES[::2])
def test_block_size_does_not_matter(name, smoothing, block_size):
  module = losses.LOSSES[name]
  inputs = _inputs(22)
  want = pairs.reference_grads(
    module.reference, *inputs, label_smoothing=smoothing
  )
  got = pairs.sharded_grads(
    module.sharded,
    pairs.make_mesh(2),
    *inputs,
    label_smoothing=smoothing,
    block_size=block_size,
  )
  pairs.assert_close(got, want)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_one_row_a_device(name):
  module = losses.LOSSES[name]
  inputs = _inputs(8)
  pairs.assert_close(
    pairs.sharded_grads(
      module.sharded, pairs.make_mesh(8), *inputs, block_size=16
    ),
    pairs.reference_grads(module.reference, *inputs),
  )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "smoothing"), pairs.CASES)
def test_bfloat16_embeddings(name, smoothing):
  zimg, ztxt, labels = _inputs()
  zimg, ztxt = jnp.bfloat16(zimg), jnp.bfloat16(ztxt)
  module = losses.LOSSES[name]
  got = pairs.sharded_grads(
    module.sharded,
    pairs.make_mesh(4, 2),
    zimg,
    ztxt,
    labels,
    label_smoothing=smoothing,
    block_size=2,
  )
  assert got[0].dtype == jnp.float32
  assert [g.dtype for g in got[1]] == ["bfloat16"] * 2 + ["float32"] * 2
  want = pairs.reference_grads(
    module.reference,
    jnp.float32(zimg),
    jnp.float32(ztxt),
    labels,
    label_smoothing=smoothing,
  )
  # Products of bfloat16 are exact in float32, so the value is as good.
  pairs.assert_close(got[:1], want[:1])
  # The derivatives by logits and the result are rounded to 8 bits (2^-9
  # relative each), and a sum of both signs keeps the rounding of its terms,
  # here at most four times the largest entry.
  for g, w in zip(got[1][:3], want[1][:3], strict=True):
    pairs.assert_close(
      [g], [w], rtol=2**-8, atol=2**-7 * float(np.abs(w).max())
    )
  # Summed before any rounding.
  pairs.assert_close(got[1][3:], want[1][3:])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_value_without_gradients(name):
  """The pass that computes no gradients is a program of its own."""
  zimg, ztxt, labels = _inputs()
  module = losses.LOSSES[name]
  kwargs = {"scale": pairs.SCALE, "bias": pairs.BIAS, "labels_B": labels}
  with jax.set_mesh(pairs.make_mesh(2, 4)):
    got = jax.jit(
      lambda zimg, ztxt: module.sharded(
        zimg, ztxt, axis_names=pairs.BATCH_AXES, block_size=2, **kwargs
      )
    )(zimg, ztxt)
  pairs.assert_close([got], [module.reference(zimg, ztxt, **kwargs)])


@pytest.mark.slow
@pytest.mark.parametrize("name", losses.LOSSES)
def test_chain_rule(name):
  """Gradients of a function of the loss, under recomputation."""
  zimg, ztxt, labels = _inputs()

  def square_of(loss_fn, **kwargs):
    def call(zimg, log_scale):
      loss = loss_fn(
        zimg / 2,
        ztxt,
        scale=jnp.exp(log_scale),
        bias=0.0,
        labels_B=labels,
        **kwargs,
      )
      return loss**2

    return jax.jit(jax.grad(jax.checkpoint(call), argnums=(0, 1)))

  module = losses.LOSSES[name]
  with jax.set_mesh(pairs.make_mesh(2)):
    got = square_of(module.sharded, axis_names=pairs.BATCH_AXES, block_size=8)(
      zimg, 1.0
    )
  pairs.assert_close(got, square_of(module.reference)(zimg, 1.0))


# Rows of a device of a 2 x 4 mesh; of four devices; of all.
@pytest.mark.slow
@pytest.mark.parametrize(
  ("loss_axes", "num_groups"), [((), 8), (("fsdp",), 2), (None, 1)]
)
@pytest.mark.parametrize("name", losses.LOSSES)
def test_groups_see_their_own_rows(name, loss_axes, num_groups):
  zimg, ztxt, labels = _inputs()
  module = losses.LOSSES[name]

  def mean_of_groups(zimg, ztxt, *, labels_B, **kwargs):
    groups = zip(
      *(jnp.split(x, num_groups) for x in (zimg, ztxt, labels_B)), strict=True
    )
    values = [
      module.reference(i, t, labels_B=y, **kwargs) for i, t, y in groups
    ]
    return sum(values) / num_groups

  want = pairs.reference_grads(mean_of_groups, zimg, ztxt, labels)
  got = pairs.sharded_grads(
    module.sharded,
    pairs.make_mesh(2, 4),
    zimg,
    ztxt,
    labels,
    block_size=2,
    loss_axes=loss_axes,
  )
  pairs.assert_close(got, want)


@pytest.mark.parametrize(
  ("scope", "communicates"),
  [("global", True), ("microbatch", True), ("device", False)],
)
def test_scope(scope, communicates):
  """Scope "device" sends nothing but sums; the others use all rows."""
  zimg, ztxt, labels = _inputs()
  config = losses.LossConfig("unicl", 0.1, block_size=4, scope=scope)
  loss_fn = losses.make_loss(config, pairs.BATCH_AXES)
  kwargs = {"labels_B": labels, "label_smoothing": 0.1}
  kwargs |= {"scale": pairs.SCALE, "bias": pairs.BIAS}
  rows = jax.NamedSharding(pairs.make_mesh(4), jax.P(pairs.BATCH_AXES))
  with jax.set_mesh(rows.mesh):
    compiled = (
      jax.jit(loss_fn)
      .lower(
        *(jax.device_put(z, rows) for z in (zimg, ztxt)),
        pairs.SCALE,
        pairs.BIAS,
        jax.device_put(labels, rows),
      )
      .compile()
    )
    got = compiled(
      *(jax.device_put(z, rows) for z in (zimg, ztxt)),
      pairs.SCALE,
      pairs.BIAS,
      jax.device_put(labels, rows),
    )
  want = losses.LOSSES["unicl"].reference(zimg, ztxt, **kwargs)
  program = compiled.as_text()
  assert ("collective-permute" in program) == communicates
  assert "all-gather" not in program
  if communicates:
    pairs.assert_close([got], [want])
  else:
    assert got < want - 0.5  # six texts to tell apart, not 24


def test_labels_are_required():
  zimg, ztxt, _ = _inputs()
  kwargs = {"scale": 1.0, "bias": 0.0}
  with pytest.raises(ValueError, match="needs labels_B"):
    losses.LOSSES["unicl"].reference(zimg, ztxt, **kwargs)
  with pytest.raises(ValueError, match="needs labels_B"):
    losses.LOSSES["unicl"].sharded(
      zimg, ztxt, axis_names=("data",), block_size=8, **kwargs
    )
