"""Examples that an evaluation cannot use: left out and counted, or an error."""

from collections.abc import Callable

from absl import logging

from input_pipeline import evaluation_split, faults

# Function of an example's position and its error.
OnFault = Callable[[int, faults.ExampleError], None]


class LeftOut:
  """Examples that cannot be used: counted and told, or a ValueError."""

  def __init__(
    self,
    split: evaluation_split.Split,
    rows: range,
    on_fault: OnFault | None = None,
  ):
    """Begin to count.

    Args:
      split: their split, which says what to do without `on_fault`.
      rows: positions of the examples that are read.
      on_fault: called with the position and the error of each, which is left
        out.
    """
    self._split = split
    self._num_rows = len(rows)
    self._on_fault = on_fault
    self._num = 0

  def add(self, row: int, error: faults.ExampleError) -> None:
    """Leave an example out.

    Raises:
      ValueError: nothing leaves it out.
    """
    if self._on_fault is not None:
      self._on_fault(row, error)
    elif self._split.leaves_out:
      self._num += 1
      if self._num == 1:
        logging.warning(
          "%s: left out of the evaluation: %s", self._split.field, error
        )
    else:
      raise ValueError(
        f"{self._split.field}: example {row} cannot be used: {error.kind}:"
        f" {error}; --task=prepare --decode leaves such examples out"
      ) from error

  def end(self) -> None:
    """Say how many were left out."""
    if self._num:
      logging.warning(
        "%s: %d of %d images are left out of the evaluation",
        *(self._split.field, self._num, self._num_rows),
      )
