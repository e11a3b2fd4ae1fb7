"""Layouts of parameters in published files, each with its inverse.

PyTorch keeps the kernel of an affine map as [out, in] and that of a convolution
as [out, in, Y, X]; here they are [in, out] and [Y, X, in, out]. Every form can
be undone, so that a file that was read can be written again to the bit.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Arrays = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Form:
  """Inverse functions between a file's arrays and our parameters."""

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


# An array that is the same in both.
SAME = _each(lambda x: x, lambda x: x)
# The kernel of an affine map, [out, in] in the file.
DENSE = _each(np.transpose, np.transpose)
# The kernel of a convolution, [out, in, Y, X] in the file.
CONV = _each(
  lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)
# A vector in the file that is a table of one row here, such as a cls token.
ROW = _each(lambda x: x[None], lambda x: x[0])
# A number in the file, or an array of one number, which is saved as a number.
NUMBER = _each(lambda x: x.reshape(()) if x.size == 1 else x, lambda x: x)
# The same, saved with the shape [1].
ONE_NUMBER = _each(
  lambda x: x.reshape(()) if x.size == 1 else x, lambda x: x.reshape(1)
)
# An array [1, ...] in the file, [...] here.
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


def patch(size: int) -> Form:
  """Return the form of a patch embedding: a convolution [D, 3, size, size].

  Here it is the kernel [size * size * 3, D] of flattened patches.
  """
  return _each(
    lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
    lambda x: x.reshape(size, size, -1, x.shape[-1]).transpose(3, 2, 0, 1),
  )


def flat_patch(size: int) -> Form:
  """Return the form of a patch embedding [size, size, 3, D]."""
  return _each(
    lambda x: x.reshape(-1, x.shape[-1]),
    lambda x: x.reshape(size, size, -1, x.shape[-1]),
  )


def flat_grid(side: int) -> Form:
  """Return the form of positions [side, side, D], here [side**2, D]."""
  return _each(
    lambda x: x.reshape(-1, x.shape[-1]),
    lambda x: x.reshape(side, -1, x.shape[-1]),
  )


def joined_heads(num_heads: int, axis: int = -1) -> Form:
  """Return the form of attention whose heads are an axis of their own.

  Args:
    num_heads: heads.
    axis: our axis of length heads times head width, counted from the end.

  Raises:
    ValueError: on use, if an array has another number of heads.
  """
  after = -axis - 1

  def load(x: np.ndarray) -> np.ndarray:
    end = x.ndim - after
    if x.shape[end - 2] != num_heads:
      raise ValueError(
        f"expected attention with {num_heads} heads; got {x.shape[end - 2]} in"
        f" an array of shape {x.shape}"
      )
    return x.reshape(*x.shape[: end - 2], -1, *x.shape[end:])

  def save(x: np.ndarray) -> np.ndarray:
    end = x.ndim - after
    return x.reshape(*x.shape[: end - 1], num_heads, -1, *x.shape[end:])

  return _each(load, save)


def _add_position(arrays: Sequence[np.ndarray]) -> Arrays:
  cls, table = arrays
  return [cls[0], np.concatenate([np.zeros_like(cls[0]), table[0]])]


def _take_position(arrays: Sequence[np.ndarray]) -> Arrays:
  cls, table = arrays
  return [(cls + table[:1])[None], table[None, 1:]]


# A cls token [1, 1, D] and positions [1, N, D] of the patches only. Here the
# cls token has a position too, which is 0.
CLS_WITHOUT_POSITION = Form(_add_position, _take_position)


def stacked(form: Form) -> Form:
  """Return the form of arrays that are stacked here, each of `form`.

  Layers that a file does not count from 0 need it; others have mapping.LAYER.
  """
  return Form(
    lambda arrays: [np.stack([form.load([x])[0] for x in arrays])],
    lambda arrays: [form.save([x])[0] for x in arrays[0]],
  )
