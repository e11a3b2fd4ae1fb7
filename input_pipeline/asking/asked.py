"""Records of a source that has questions: `question_fields` of its section.

Fields, each with a location as captions have it:

  question     text; "" where a video has options alone
  answer       text, or of options the index of the right one, from 0
  answer_type  name of the group that its accuracy is reported in
  options      list of texts to choose from
  answers      list of the answers that humans gave

`Record.texts` are then the question, or the texts "question option": those that
a tokenizer's vocabulary and a survey read.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from input_pipeline import captions, faults, sources
from input_pipeline.grammars import filled
from input_pipeline.sources import columns, source_config
from input_pipeline.sources import record as record_lib
from runtime import checks

QUESTION, ANSWER, ANSWER_TYPE, OPTIONS, ANSWERS = FIELDS = (
  "question",
  "answer",
  "answer_type",
  "options",
  "answers",
)
_LISTS = (OPTIONS, ANSWERS)
# Formats whose records have captions and nothing else, or no lists.
_WITHOUT = ("emoji", "array_record", "tfds")


@dataclasses.dataclass(frozen=True)
class Question:
  """A question about an image or a video.

  Attributes:
    text: question, "" where there are options alone.
    answer: text of the answer; "" where there is none.
    answer_type: type; "" where there is none.
    options: texts to choose from.
    right: index of the right option; -1 without options or answer.
    answers: answers of humans.
  """

  text: str = ""
  answer: str = ""
  answer_type: str = ""
  options: tuple[str, ...] = ()
  right: int = -1
  answers: tuple[str, ...] = ()

  @property
  def texts(self) -> tuple[str, ...]:
    """Texts that a model reads: the question, or "question option" of each."""
    if not self.options:
      return (self.text,)
    return tuple(f"{self.text} {option}".strip() for option in self.options)


def check(source: source_config.SourceConfig, field: str) -> None:
  """Raise ValueError where the fields of questions cannot be used.

  Args:
    source: section of the source.
    field: name of the section in messages.
  """
  if not source.question_fields:
    return
  names = [name for name, _ in source.question_fields]
  if not {*names} <= {*FIELDS} or len({*names}) < len(names):
    checks.refuse(
      f"{field}.question_fields must name some of {', '.join(FIELDS)}, each"
      f" once; got {names}"
    )
  elif QUESTION not in names and OPTIONS not in names:
    checks.refuse(
      f"{field}.question_fields must name question or options; got {names}"
    )
  for name in (
    *("caption", "templates", "short_templates", "grammar"),
    *("language_field", "keep"),
  ):
    if getattr(source, name):
      checks.refuse(
        f"{field}.{name} cannot stand beside {field}.question_fields; got"
        f" {getattr(source, name)!r}"
      )
  if source.format in _WITHOUT:
    formats = [name for name in sources.FORMATS if name not in _WITHOUT]
    checks.refuse(
      f"{field}.question_fields needs a format with such fields, among"
      f" {', '.join(formats)}; got {source.format!r}"
    )


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> record_lib.Records:
  """Return the records of a split, with questions where the section has them.

  Raises as `open_split` of a format does; see input_pipeline.sources.
  """
  if not source.question_fields:
    return filled.open_split(source, split, context)
  locations = tuple(
    f"{location}{columns.VALUES if name in _LISTS else columns.VALUE}"
    for name, location in source.question_fields
  )
  section = dataclasses.replace(
    source, caption=locations, language=filled.UNNAMED
  )
  try:
    opened = sources.FORMATS[source.format].open_split(section, split, context)
  except ValueError as error:
    if f"{context.field}.caption " not in str(error):
      raise
    text = str(error).replace(".caption ", ".question_fields ")
    for end in (columns.VALUES, columns.VALUE):
      text = text.replace(end, "")
    raise ValueError(text) from error
  names = tuple(name for name, _ in source.question_fields)
  return Records(opened, names, source.language)


class Records(record_lib.Reading):
  """Records whose texts are fields of questions; see record.Records."""

  def __init__(self, records: Any, names: tuple[str, ...], language: str):
    """Open records.

    Args:
      records: records; each text is the value of one of `names`.
      names: fields, in the order of their texts.
      language: language of the questions.
    """
    super().__init__(records)
    self._names = names
    self._language = language

  def __getitem__(self, index: int) -> record_lib.Record:
    """Return a record with its question's fields, and its texts."""
    record = self._records[index]
    with faults.located(record.origin or record.key):
      fields = self._fields(record.texts)
      texts = question_of(fields).texts
    return dataclasses.replace(
      record, texts={self._language: texts}, fields=fields
    )

  def question(self, index: int) -> Question:
    """Return a record's question, without its image where that is possible.

    Raises faults.ExampleError.
    """
    read = getattr(self._records, "texts", None)
    texts = self._records[index].texts if read is None else read(index)
    return question_of(self._fields(texts))

  def fingerprint(self) -> str:
    """Return hex digits of the records and the names of their fields."""
    facts = (self._records.fingerprint(), self._names, self._language)
    return record_lib.digest(facts)

  def _fields(self, texts: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return filled.split_values(texts, self._names)[1]


def question_of(fields: Mapping[str, str]) -> Question:
  """Return the question of a record's fields.

  Raises:
    faults.ExampleError: "caption_missing" without question and options,
      "record_broken" where the answer is no index of the options.
  """
  options = _list(fields, OPTIONS)
  text, answer = fields.get(QUESTION, ""), fields.get(ANSWER, "")
  if captions.is_blank(text) and not options:
    raise faults.ExampleError(
      "caption_missing",
      f"the example has neither a question nor options; it has {[*fields]}",
    )
  right = -1
  if options and answer:
    right = int(answer) if answer.isascii() and answer.isdigit() else -1
    if not 0 <= right < len(options):
      raise faults.ExampleError(
        "record_broken",
        f"the answer must be an index of the {len(options)} options, from 0;"
        f" got {answer[:60]!r}",
      )
    answer = options[right]
  return Question(
    text,
    answer,
    fields.get(ANSWER_TYPE, ""),
    options,
    right,
    _list(fields, ANSWERS),
  )


def _list(fields: Mapping[str, str], name: str) -> tuple[str, ...]:
  return tuple(json.loads(fields[name])) if fields.get(name) else ()
