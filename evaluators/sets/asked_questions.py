"""Set of questions that a decoder answers: a section.

A question is a record of a source with question_fields (input_pipeline/asking):
VQA v2's layout, or a table. POPE's files are tables too: its fields are "text"
for the question, "label" for the answer and "image" for the picture.
"""

import dataclasses
import typing

from input_pipeline import evaluation_split, pipeline
from input_pipeline.asking import asked
from input_pipeline.selecting import subset
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from runtime import checks

# Judge of answers: humans or an annotated answer, or POPE's yes and no.
ANSWERS, POLLING = JUDGES = ("answers", "polling")


@dataclasses.dataclass(frozen=True)
class AnsweringConfig:
  """Section of an evaluation set of questions about images.

  Attributes:
    kind: selects this section's dataclass.
    source: images with a question each; its `question_fields` name question,
      and answers (of humans) or answer.
    judge: "answers" for soft accuracy where there are answers of humans, else
      accuracy; "polling" for POPE's figures, whose answers are yes or no.
  """

  kind: typing.Literal["answering"]
  source: source_config.SourceConfig
  judge: str = ANSWERS

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    asked.check(self.source, f"{field}.source")
    checks.one_of(f"{field}.judge", self.judge, JUDGES)
    names = {name for name, _ in self.source.question_fields}
    needed = {asked.ANSWER}
    if self.judge == ANSWERS:
      needed |= {asked.ANSWERS}
    if asked.QUESTION not in names or not names & needed:
      checks.refuse(
        f"{field}.source.question_fields must name question and"
        f" {' or '.join(sorted(needed))} with {field}.judge={self.judge!r}; got"
        f" {sorted(names)}"
      )
    elif asked.OPTIONS in names:
      checks.refuse(
        f"{field}.source.question_fields must not name options, of which a"
        f" decoder chooses none; got {sorted(names)}"
      )

  def open(self, name: str, data: pipeline.DataConfig) -> "Questions":
    """Return the opened set; no image is read.

    Args:
      name: name of the set in evaluate.sets.
      data: section `data` of the run.

    Raises:
      ValueError: the source cannot be read, or has no question.
    """
    place = data.context("source", f"evaluate.sets.{name}")
    records = asked.open_split(self.source, self.source.split, place)
    if self.source.subset:
      records = subset.select(records, self.source, place)
    if not len(records):
      raise ValueError(f"{place.field} has no questions")
    return Questions(records, self.judge, data.num_threads, place.field)


@dataclasses.dataclass(frozen=True)
class Questions:
  """Opened set of questions; nothing is decoded yet.

  Attributes:
    records: records with questions.
    judge: one of JUDGES.
    num_threads: threads that decode.
    field: field of the config that holds the source, for messages.
  """

  records: record_lib.Records
  judge: str
  num_threads: int
  field: str

  def fingerprint(self) -> str:
    """Return hex digits that identify the examples, without reading them."""
    return self.records.fingerprint()
