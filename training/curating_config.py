"""Section `config.curating`: each step draws its rows from a super-batch.

The draws are those of losses/joint_selection.py; training/curating makes them.
"""

import dataclasses

import losses
from input_pipeline import pipeline
from losses import joint_selection
from runtime import checks, marks

_SECTION = "curating"
# Loss that learnability is defined for.
_LOSS = "sigmoid"
# Largest part of a row by which batch_size / (1 - filter_ratio) may miss a
# whole number, as 0.8 has no exact binary fraction.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class CuratingConfig:
  """Fields of the section; configs/parts/curating.py explains them."""

  filter_ratio: marks.Training[float] = 0.0
  teacher: marks.Training[str] = ""
  num_blocks: marks.Training[int] = joint_selection.NUM_BLOCKS

  @property
  def is_on(self) -> bool:
    """Whether rows are drawn from a super-batch."""
    return self.filter_ratio > 0

  @property
  def without_teacher(self) -> str:
    """Message for a section that names no teacher."""
    return (
      f"{_SECTION}.teacher must be the folder of a run or of published weights"
      f" with {_SECTION}.filter_ratio={self.filter_ratio}; got ''"
    )

  def num_rows_read(self, batch_size: int) -> int:
    """Return the rows of the super-batch that `batch_size` are drawn from.

    They are batch_size for a ratio that `check` refuses.
    """
    if not 0 < self.filter_ratio < 1:
      return batch_size
    return round(batch_size / (1 - self.filter_ratio))

  @checks.collected()
  def check(self, batch_size: int) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    ratio = self.filter_ratio
    if not 0 <= ratio < 1:
      checks.refuse(f"{_SECTION}.filter_ratio must be in [0, 1); got {ratio}")
      return
    if not self.is_on:
      if self.teacher:
        checks.refuse(
          f"{_SECTION}.filter_ratio must be above 0 with"
          f" {_SECTION}.teacher={self.teacher!r}, as nothing is drawn by it;"
          f" got {ratio}"
        )
      return
    if not self.teacher:
      checks.refuse(self.without_teacher)
    rows = batch_size / (1 - ratio)
    if abs(rows - round(rows)) > _ROUNDING:
      checks.refuse(
        f"batch_size / (1 - {_SECTION}.filter_ratio) must be a whole number of"
        f" rows that are read; got {batch_size} / (1 - {ratio}) = {rows:.2f}"
      )
    checks.at_least(f"{_SECTION}.num_blocks", self.num_blocks, 1)
    if self.num_blocks > 0 and batch_size % self.num_blocks:
      checks.refuse(
        f"batch_size must be a multiple of {_SECTION}.num_blocks="
        f"{self.num_blocks}, the blocks that its rows are drawn in; got"
        f" {batch_size}"
      )

  @checks.collected()
  def check_beside(
    self, loss: losses.LossConfig, data: pipeline.DataConfig
  ) -> None:
    """Raise ValueError, naming the field, where other sections do not fit."""
    on = f"{_SECTION}.filter_ratio above 0"
    if loss.name != _LOSS:
      checks.refuse(
        f"loss.name must be {_LOSS!r} with {on}, as learnability is a"
        f" difference of sigmoid losses; got {loss.name!r}"
      )
    if loss.scope != "global":
      checks.refuse(
        f"loss.scope must be 'global' with {on}, which draws the rows of a"
        f" whole batch together; got {loss.scope!r}"
      )
    if data.augmentation.is_naflex:
      checks.refuse(
        f"data.augmentation.resize must not be 'naflex' with {on}, whose"
        " teacher reads square images; got 'naflex'"
      )
