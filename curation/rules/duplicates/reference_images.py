"""Operator that drops images whose perceptual hash is in a reference set.

COYO-700M (kakaobrain/coyo-dataset, README) drops images whose perceptual hash
is that of an image of ImageNet-1K and 21K, Flickr30K, COCO, CC3M or CC12M.
"""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import operators
from curation.keys import hamming
from curation.rules.duplicates import perceptual_hashes
from input_pipeline.storage import npy
from runtime import checks


@dataclasses.dataclass(frozen=True)
class ReferenceImages(operators.Filter):
  """Drop images whose hash equals, or is near, one of a reference set.

  Attributes:
    column: name of a column of 64-bit hashes (uint64), as `phash` makes them,
      in the pool and in the references' Parquet files.
    references: .npy files of uint64, Parquet files, or folders of these, as
      signals/ of another curation with a step `phash`.
    max_distance: number of bits in which hashes may differ: 0 (COYO-700M), up
      to 11.
  """

  column: str
  references: tuple[str, ...]
  max_distance: int

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.column,)

  signals = ("reference_distance",)

  def check(self, field: str) -> None:
    hamming.check_distance(self.max_distance, f"{field}.max_distance")
    if not self.references:
      checks.refuse(
        f"{field}.references must name files of hashes; got (). Curate the"
        " reference set with a step phash: its signals/ has them"
      )

  def files(self) -> tuple[str, ...]:
    return self.references

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    del context
    parts = [read(pathlib.Path(path), self.column) for path in self.references]
    index = hamming.Index(np.unique(np.concatenate(parts)), self.max_distance)

    def decide(table: pa.Table) -> operators.Verdict:
      hashes = perceptual_hashes.read_hashes(table, self.column)
      distance = index.nearest(hashes)
      return operators.Verdict(
        distance == hamming.FAR, {"reference_distance": distance}
      )

    return decide


def read(path: pathlib.Path, column: str) -> np.ndarray:
  """Return the hashes of a file or a folder's files, uint64; nulls left out.

  Raises:
    ValueError: there are no hashes.
  """
  if path.is_dir():
    files = sorted([*path.rglob("*.npy"), *path.rglob("*.parquet")])
    if not files:
      raise ValueError(f"{path} has no .npy or .parquet files of hashes")
    return np.concatenate([read(file, column) for file in files])
  if path.suffix == ".npy":
    hashes = npy.load(path)
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
      raise ValueError(
        f"{path} must hold hashes, uint64 [R]; got {hashes.dtype}"
        f" {list(hashes.shape)}"
      )
    return hashes
  names = pq.read_schema(path).names
  if column not in names:
    raise ValueError(f"{path} has no column {column}; it has {names}")
  values = pq.read_table(path, columns=[column])[column].drop_null()
  return perceptual_hashes.read_hashes(pa.table({column: values}), column)
