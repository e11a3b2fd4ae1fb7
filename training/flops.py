"""Floating-point operations of a traced function, counted from its program.

XLA's own count includes the body of a scan once, however often it runs; towers
here are scans over layers, so XLA's count is several times too low.
"""

import math
from collections.abc import Callable
from typing import Any

import jax


def count(fn: Callable[..., Any], *args: Any) -> int:
  """Return the FLOPs of the matmuls and convolutions of fn(*args).

  A multiplication and an addition are two. Recomputation (jax.checkpoint) is
  counted each time. Inside shard_map the work of one shard is multiplied by the
  number of shards.

  Args:
    fn: traceable function.
    *args: arrays or ShapeDtypeStructs.
  """
  return _jaxpr_flops(jax.make_jaxpr(fn)(*args).jaxpr)


def _jaxpr_flops(jaxpr: Any) -> int:
  return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: Any) -> int:
  name = equation.primitive.name
  if name == "dot_general":
    return _dot_flops(equation)
  if name == "conv_general_dilated":
    return _conv_flops(equation)
  inner = [_jaxpr_flops(jaxpr) for jaxpr in _inner_jaxprs(equation)]
  if name == "scan":
    return equation.params["length"] * sum(inner)
  if name == "cond":
    return max(inner)
  if name == "shard_map":
    mesh = equation.params["mesh"]
    shards = math.prod(
      mesh.shape[a] for a in equation.params["newly_manual_axes"]
    )
    return shards * sum(inner)
  return sum(inner)


def _inner_jaxprs(equation: Any) -> list[Any]:
  jaxprs = []
  for value in equation.params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      jaxpr = getattr(item, "jaxpr", item)  # a ClosedJaxpr holds a Jaxpr
      if hasattr(jaxpr, "eqns"):
        jaxprs.append(jaxpr)
  return jaxprs


def _dot_flops(equation: Any) -> int:
  left = equation.invars[0].aval
  (contracted, _), _ = equation.params["dimension_numbers"]
  depth = math.prod(left.shape[axis] for axis in contracted)
  return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def _conv_flops(equation: Any) -> int:
  kernel = equation.invars[1].aval
  out_axis = equation.params["dimension_numbers"].rhs_spec[0]
  per_output = math.prod(kernel.shape) // kernel.shape[out_axis]
  return 2 * per_output * math.prod(equation.outvars[0].aval.shape)
