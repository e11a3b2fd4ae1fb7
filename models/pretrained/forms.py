"""How a published file lays out an array that is a parameter here.

PyTorch keeps the kernel of an affine map as [out, in] and that of a convolution
as [out, in, Y, X]; here they are [in, out] and [Y, X, in, out]. Every form can
be undone, so that what is read can be written again to the bit.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Arrays = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Form:
  """Two functions, each other's inverse, between arrays there and here."""

  load: Callable[[Sequence[np.ndarray]], Arrays]
  save: Callable[[Sequence[np.ndarray]], Arrays]


def _each(
  load: Callable[[np.ndarray], np.ndarray],
  save: Callable[[np.ndarray], np.ndarray],
) -> Form:
  return Form(
    lambda arrays: [load(x) for x in arrays],
    lambda arrays: [save(x) for x in arrays],
  )


# The array as it is.
SAME = _each(lambda x: x, lambda x: x)
# The kernel of an affine map, [out, in] there.
DENSE = _each(np.transpose, np.transpose)
# The kernel of a convolution, [out, in, Y, X] there and [Y, X, in, out] here.
CONV = _each(
  lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)
# A vector there that is a table of one row here, such as a cls token.
ROW = _each(lambda x: x[None], lambda x: x[0])
# [1, ...] there, [...] here.
BATCHED = _each(lambda x: x[0], lambda x: x[None])


def kernels(count: int) -> Form:
  """Return the form of kernels one below the other, [count * out, in]."""
  return Form(
    lambda arrays: [x.T for x in np.split(arrays[0], count)],
    lambda arrays: [np.concatenate([x.T for x in arrays])],
  )


def biases(count: int) -> Form:
  """Return the form of biases one behind the other, [count * out]."""
  return Form(
    lambda arrays: list(np.split(arrays[0], count)),
    lambda arrays: [np.concatenate(arrays)],
  )


# Of query, key and value in one array.
QKV_KERNEL, QKV_BIAS = kernels(3), biases(3)


def patch(size: int) -> Form:
  """Return the form of a patch embedding: a convolution [D, 3, size, size].

  Here it is the kernel [size * size * 3, D] of flattened patches.
  """
  return _each(
    lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
    lambda x: x.reshape(size, size, -1, x.shape[-1]).transpose(3, 2, 0, 1),
  )
