"""Labelled set of one's own data: section of `evaluate.sets`."""

import dataclasses
import typing

from evaluators.sets import field_set, own
from input_pipeline import evaluation_split
from input_pipeline.sources import source_config
from runtime import checks


@dataclasses.dataclass(frozen=True)
class LabelledConfig:
  """Section of an evaluation set whose images have labels.

  Attributes:
    kind: selects this section's dataclass.
    source: images; its `caption` is (), as the label takes its place.
    label: place of the label: a column, ".cls" or "json.FIELD" of tars, or
      "folder", the name of the folder that an image is in.
    classes: text file with the name of a class a line; "" for the names that
      the labels are.
    templates: text file with a prompt a line, {c} for the class; "" for one.
  """

  kind: typing.Literal["classification"]
  source: source_config.SourceConfig
  label: str
  classes: str = ""
  templates: str = ""

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    if not self.label:
      checks.refuse(
        f'{field}.label must be a column, ".cls", "json.FIELD" or "folder"; '
        "got ''"
      )
    if self.source.caption:
      checks.refuse(
        f"{field}.source.caption must be (), as the label is read in its place;"
        f" got {self.source.caption!r}"
      )

  def open(self, name: str, cache_dir: str) -> field_set.FieldSet:
    """Return the set, its labels read; ValueError where one cannot be used."""
    return own.labelled(
      name,
      dataclasses.asdict(self.source),
      self.label,
      cache_dir=cache_dir,
      classes=self.classes,
      templates=self.templates,
    )
