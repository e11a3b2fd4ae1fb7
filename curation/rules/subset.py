"""Filter by files of UIDs: DataComp's subsets, or earlier selections."""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa

from curation import operators, pool
from input_pipeline.selecting import subset as subset_lib
from input_pipeline.storage import uids as uids_lib
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Subset(operators.Filter):
  """Keep the pairs whose UID is in at least one of the files.

  One step with several files keeps their union; one step for each, their
  intersection. UIDs that a file repeats, as DataComp's may, are kept once.

  Attributes:
    paths: .npy files of sorted UIDs, dtype "u8,u8".
  """

  paths: tuple[str, ...]

  def check(self, field: str) -> None:
    """Raise ValueError for a missing file, or one without UIDs."""
    if not self.paths:
      checks.refuse(f"{field}.paths must name .npy files of UIDs; got ()")
    for path in self.paths:
      if not pathlib.Path(path).is_file():
        raise ValueError(f"{field}.paths: there is no file {path}")
      subset_lib.read(f"{field}.paths", path)

  def files(self) -> tuple[str, ...]:
    """Return the paths."""
    return self.paths

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Map the files; raises ValueError for one that is not sorted."""
    del context
    sets = [
      uids_lib.SortedUids(subset_lib.read("subset", path), path)
      for path in self.paths
    ]

    def decide(table: pa.Table) -> operators.Verdict:
      uids = pool.uids(table)
      keep = np.zeros(len(uids), bool)
      for names in sets:
        keep |= names.have(uids)
      return operators.Verdict(keep)

    return decide
