"""ALIGN's filters (Jia et al., arXiv 2102.05918, section 3)."""

import dataclasses

import numpy as np
import pyarrow as pa

from curation import operators


@dataclasses.dataclass(frozen=True)
class ImageSize(operators.Filter):
  """Keep images of which the shorter side is long enough.

  Attributes:
    min_side: pixels.
    strict: whether an image of just that size is dropped.
  """

  min_side: int
  strict: bool

  columns = ("width", "height")

  def check(self, field: str) -> None:
    if self.min_side < 0:
      raise ValueError(
        f"{field}.min_side must be at least 0; got {self.min_side}"
      )

  def open(self, place: operators.Place) -> operators.DecideFn:
    del place

    def decide(table: pa.Table) -> operators.Verdict:
      shorter = np.minimum(
        table["width"].to_numpy(), table["height"].to_numpy()
      )
      if self.strict:
        return operators.Verdict(shorter > self.min_side)
      return operators.Verdict(shorter >= self.min_side)

    return decide
