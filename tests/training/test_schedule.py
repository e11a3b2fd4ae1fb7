"""Learning rate schedules against slow formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from training import schedule

_TOTAL = 50


def _make(
  name,
  warmup=10,
  cooldown=0,
  timescale=7,
  final=0.1,
  total=_TOTAL,
  factors=None,
):
  if factors is None:
    factors = ((0, 1.0),) if name == "factors" else ()
  return schedule.make_schedule(
    name,
    total_steps=total,
    warmup_steps=warmup,
    cooldown_steps=cooldown,
    timescale_steps=timescale,
    final_fraction=final,
    factors=factors,
  )


def _slow(name, step, warmup, cooldown, timescale=7, final=0.1):
  """One step's factor, in Python numbers and case by case."""
  if step < warmup:
    factor = step / warmup
  elif name == "cosine":
    angle = math.pi * (step - warmup) / (_TOTAL - warmup)
    factor = final + (1 - final) * (math.cos(angle) + 1) / 2
  elif name == "linear":
    share = (step - warmup) / (_TOTAL - warmup)
    factor = share * final + (1 - share)
  elif name == "rsqrt":
    factor = math.sqrt(timescale / (timescale + step - warmup))
  else:
    factor = 1.0
  if step > _TOTAL - cooldown:
    factor *= (_TOTAL - step) / cooldown
  return factor


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize(
  ("name", "cooldown"),
  [
    ("cosine", 0),
    ("linear", 0),
    ("rsqrt", 0),
    ("rsqrt", 15),
    ("constant", 0),
    ("constant", 40),
  ],
)
def test_against_a_slow_formula(name, cooldown, warmup):
  factor = jax.vmap(_make(name, warmup, cooldown))
  steps = np.arange(_TOTAL + 1)
  expected = [_slow(name, int(step), warmup, cooldown) for step in steps]
  # float32 rounding of about ten operations.
  np.testing.assert_allclose(
    factor(jnp.asarray(steps)), expected, rtol=2e-6, atol=1e-7
  )


@pytest.mark.parametrize("name", schedule.SCHEDULES)
def test_ends(name):
  factor = _make(name)
  assert factor(0) == 0  # warmup begins at 0
  assert factor(10) == 1  # and ends at the highest rate
  if name in ("cosine", "linear"):
    np.testing.assert_allclose(factor(_TOTAL), 0.1, rtol=1e-6)
    np.testing.assert_allclose(factor(2 * _TOTAL), 0.1, rtol=1e-6)
  else:
    cooled = _make(name, cooldown=5)
    assert cooled(_TOTAL) == 0
    assert cooled(2 * _TOTAL) == 0
    assert cooled(_TOTAL - 5) == factor(_TOTAL - 5) > 0


def test_warmup_may_take_the_whole_run():
  assert _make("cosine", warmup=_TOTAL)(_TOTAL) == 1


def test_large_steps_are_exact():
  # float32 holds integers up to 2 ** 24 only; runs are shorter.
  factor = _make("linear", warmup=0, final=0.0, total=10_000_000)
  np.testing.assert_allclose(factor(9_999_999), 1e-7, rtol=0.2)


@pytest.mark.parametrize(
  ("kwargs", "words"),
  [
    ({"name": "cosin"}, "optimizer.schedule must be one of cosine.*'cosin'"),
    ({"name": "cosine", "cooldown": 3}, "cooldown_steps must be 0 .*got 3"),
    ({"name": "linear", "cooldown": 3}, "cooldown_steps must be 0 .*got 3"),
    (
      {"name": "rsqrt", "warmup": -1},
      "warmup_steps must be at least 0; got -1",
    ),
    (
      {"name": "rsqrt", "timescale": 0},
      "timescale_steps must be at least 1; got 0",
    ),
    (
      {"name": "constant", "warmup": 30, "cooldown": 21},
      r"at most total_steps; got 30 \+ 21 and 50",
    ),
  ],
)
def test_refused(kwargs, words):
  with pytest.raises(ValueError, match=words):
    _make(**kwargs)


def test_factors():
  factors = ((0, 0.5), (3, 1.0), (7, 2.0))
  make = _make("factors", warmup=0, cooldown=2, total=10, factors=factors)
  got = [float(make(jnp.int32(step))) for step in range(10)]
  assert got == [0.5, 0.5, 0.5, 1, 1, 1, 1, 2, 2, 1]


@pytest.mark.parametrize(
  ("name", "factors", "message"),
  [
    ("factors", (), "must be given with"),
    ("cosine", ((0, 1.0),), "with no other"),
    ("factors", ((1, 1.0),), "must begin at step 0"),
    ("factors", ((0, 1.0), (5, 1.0), (3, 1.0)), "each later"),
    ("factors", ((0, -1.0),), "must be at least 0"),
  ],
)
def test_wrong_factors(name, factors, message):
  with pytest.raises(ValueError, match=message):
    _make(name, warmup=0, total=10, factors=factors)


def test_a_schedule_begins_at_its_first_step():
  plain, late = (
    _make("cosine"),
    schedule.in_run(_make("cosine"), schedule.Span(7, _TOTAL)),
  )
  for step in range(_TOTAL):
    assert float(late(jnp.int32(step + 7))) == float(plain(jnp.int32(step)))


def test_a_stretched_piece_goes_through_its_part_more_slowly():
  """The last 2 of 10 steps, 3.75 times as long, are 7.5 steps of the run."""
  plain = _make("cosine", warmup=2, total=10)
  pieces = (schedule.Piece(0, 1.0), schedule.Piece(8, 3.75))
  stretched = schedule.in_run(plain, schedule.Span(0, 10, pieces))
  for step in range(9):
    assert float(stretched(jnp.int32(step))) == float(plain(jnp.int32(step)))
  for step in range(9, 16):
    want = plain(jnp.float32(8 + (step - 8) / 3.75))
    assert float(stretched(jnp.int32(step))) == pytest.approx(float(want))
  late = schedule.Span(3, 2, (schedule.Piece(3, 2.0), schedule.Piece(5, 1.0)))
  assert [float(late.elapsed(jnp.int32(x))) for x in range(3, 8)] == [
    *(0.0, 0.5, 1.0, 2.0, 3.0)
  ]
