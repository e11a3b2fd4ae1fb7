"""Set of expressions that a decoder finds the boxes of: a section.

An expression is the text of a region (input_pipeline/regions): RefCOCO's
layouts, or a table, Parquet file or tar with boxes and texts.
"""

import dataclasses
import typing
from collections.abc import Mapping

from input_pipeline import evaluation_split, pipeline
from input_pipeline.regions import regional
from input_pipeline.selecting import subset
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from runtime import checks


@dataclasses.dataclass(frozen=True)
class ReferringConfig:
  """Section of an evaluation set of expressions.

  Attributes:
    kind: selects this section's dataclass.
    source: images with regions: its `region_fields` are given, and captions of
      the images are not read.
    splits: splits of the source, such as ("val", "testA", "testB"), whose
      figures are reported together and one by one; () for source.split alone.
  """

  kind: typing.Literal["referring"]
  source: source_config.SourceConfig
  splits: tuple[str, ...] = ()

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    for split in self.splits or (self.source.split,):
      source = dataclasses.replace(self.source, split=split)
      evaluation_split.check_source(source, f"{field}.source")
    regional.check(self.source, f"{field}.source", needs_caption=False)
    if not self.source.region_fields:
      checks.refuse(
        f"{field}.source.region_fields must locate the boxes and texts of"
        ' regions, as (("boxes", "boxes"), ("texts", "box_texts")); got ()'
      )
    if self.splits and self.source.split:
      checks.refuse(
        f"{field}.splits must be () beside {field}.source.split="
        f"{self.source.split!r}; got {self.splits}"
      )
    if len({*self.splits}) < len(self.splits) or not all(self.splits):
      checks.refuse(
        f"{field}.splits must be names that differ; got {self.splits}"
      )

  def open(self, name: str, data: pipeline.DataConfig) -> "Expressions":
    """Return the opened set; no image is read.

    Args:
      name: name of the set in evaluate.sets.
      data: section `data` of the run.

    Raises:
      ValueError: a split cannot be read, or has no image.
    """
    place = data.context("source", f"evaluate.sets.{name}")
    records = {}
    for split in self.splits or (self.source.split,):
      opened = regional.open_split(self.source, split, place)
      if self.source.subset:
        opened = subset.select(opened, self.source, place)
      if not len(opened):
        raise ValueError(f"{place.field} has no images in split {split!r}")
      records[split if self.splits else ""] = opened
    return Expressions(records, data.num_threads, place.field)


@dataclasses.dataclass(frozen=True)
class Expressions:
  """Opened set of expressions; nothing is decoded yet.

  Attributes:
    splits: split -> records with regions; "" for a set without splits.
    num_threads: threads that decode.
    field: field of the config that holds the source, for messages.
  """

  splits: Mapping[str, record_lib.Records]
  num_threads: int
  field: str

  def fingerprint(self) -> str:
    """Return hex digits that identify the examples, without reading them."""
    facts = {name: one.fingerprint() for name, one in self.splits.items()}
    return record_lib.digest(facts)
