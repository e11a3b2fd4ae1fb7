"""Records of a source that has regions: `region_fields` of its section.

Fields, each with a location as captions have it:

  boxes   list of boxes, each a list of four numbers (`box_form`, `box_unit`)
  texts   list of as many texts, a caption of each

`Record.texts` stay the captions of the image.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from input_pipeline import faults, sources
from input_pipeline.asking import asked
from input_pipeline.regions import region_targets
from input_pipeline.sources import columns, source_config
from input_pipeline.sources import record as record_lib
from runtime import checks

BOXES, TEXTS = FIELDS = ("boxes", "texts")
_ENDS = {BOXES: columns.NESTED, TEXTS: columns.VALUES}
# Formats whose records have captions and nothing else, or no lists.
_WITHOUT = ("emoji", "array_record", "tfds")
# Layouts have a column of captions by this name.
_CAPTION = "caption"
# Four numbers of a box: left, top, right, bottom; or width and height last.
XYXY, XYWH = FORMS = ("xyxy", "xywh")
PIXELS, SHARES = UNITS = ("pixels", "shares")


def check(
  source: source_config.SourceConfig, field: str, *, needs_caption: bool = True
) -> None:
  """Raise ValueError where the fields of regions cannot be used.

  Args:
    source: section of the source.
    field: name of the section in messages.
    needs_caption: whether captions of the images are read too.
  """
  checks.one_of(f"{field}.box_form", source.box_form, FORMS)
  checks.one_of(f"{field}.box_unit", source.box_unit, UNITS)
  if not source.region_fields:
    return
  names = [name for name, _ in source.region_fields]
  if sorted(names) != sorted(FIELDS):
    checks.refuse(
      f"{field}.region_fields must name {' and '.join(FIELDS)}, each once; got"
      f" {names}"
    )
  for name in ("grammar", "question_fields", "language_field"):
    if getattr(source, name):
      checks.refuse(
        f"{field}.{name} cannot stand beside {field}.region_fields; got"
        f" {getattr(source, name)!r}"
      )
  if source.format == "layout":
    for name, value in (("box_form", XYXY), ("box_unit", PIXELS)):
      if getattr(source, name) != value:
        checks.refuse(
          f'{field}.{name} must be {value!r} for format="layout"; got'
          f" {getattr(source, name)!r}"
        )
  if source.format in _WITHOUT:
    formats = [name for name in sources.FORMATS if name not in _WITHOUT]
    checks.refuse(
      f"{field}.region_fields needs a format with such fields, among"
      f" {', '.join(formats)}; got {source.format!r}"
    )
  elif needs_caption and not source.caption and source.format != "layout":
    checks.refuse(
      f"{field}.caption must name the captions of the images beside {field}"
      ".region_fields; got ()"
    )


def check_sections(
  regions: region_targets.RegionsConfig,
  train: Mapping[str, source_config.SourceConfig],
  tests: Mapping[str, source_config.SourceConfig],
) -> None:
  """Raise ValueError for regions without a decoder, and the reverse.

  Args:
    regions: section `data.regions`.
    train: sections of data.sources.
    tests: sections of data.tests.
  """
  with checks.collected():
    regions.check()
  there = [name for name, x in train.items() if x.region_fields]
  _check_questions(regions, train)
  is_asked = all(x.question_fields for x in train.values())
  if regions.needs_regions and not there and not is_asked:
    checks.refuse(
      "data.regions needs region_fields of a source in data.sources, or"
      ' probabilities=(1.0, 0.0, 0.0) with tasks="drawn" for captions alone;'
      " got none"
    )
  if there and not regions.is_on:
    checks.refuse(
      f"data.sources.{there[0]}.region_fields needs data.regions.num_tokens"
      " above 0, the length of a decoder's targets; got 0"
    )
  for name, source in tests.items():
    if source.region_fields:
      checks.refuse(
        f"data.tests.{name}.region_fields must be (): regions are read in"
        f" training alone; got {source.region_fields}"
      )


def _check_questions(
  regions: region_targets.RegionsConfig,
  train: Mapping[str, source_config.SourceConfig],
) -> None:
  """Raise ValueError for questions that a decoder does not learn to answer."""
  if not regions.is_on:
    return
  there = {x: y for x, y in train.items() if y.question_fields}
  if regions.answers and not there:
    checks.refuse(
      "data.regions.answers needs question_fields of a source in data.sources,"
      ' such as (("question", "question"), ("answer", "answer")); got none'
    )
  for name, source in there.items():
    field = f"data.sources.{name}.question_fields"
    if not regions.answers:
      checks.refuse(
        f"{field} needs data.regions.answers=True beside"
        " data.regions.num_tokens: a decoder then learns the answers; got False"
      )
    names = {one for one, _ in source.question_fields}
    if asked.OPTIONS in names or not (
      asked.QUESTION in names and names & {asked.ANSWER, asked.ANSWERS}
    ):
      checks.refuse(
        f"{field} must name question and answer or answers, without options,"
        f" with data.regions.answers; got {sorted(names)}"
      )


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> record_lib.Records:
  """Return the records of a split, with regions where the section has them.

  Raises as `open_split` of a format does; see input_pipeline.sources.
  """
  if not source.region_fields:
    return asked.open_split(source, split, context)
  locations = tuple(
    f"{location}{_ENDS[name]}" for name, location in source.region_fields
  )
  own = source.caption or ((_CAPTION,) if source.format == "layout" else ())
  section = dataclasses.replace(source, caption=(*own, *locations))
  try:
    opened = sources.FORMATS[source.format].open_split(section, split, context)
  except ValueError as error:
    text = _about_regions(source, context.field, str(error))
    if not text:
      raise
    raise ValueError(text) from error
  names = tuple(name for name, _ in source.region_fields)
  return Records(
    opened, names, source.language, (source.box_form, source.box_unit)
  )


class Records(record_lib.Reading):
  """Records whose last texts are fields of regions; see record.Records."""

  def __init__(
    self,
    records: Any,
    names: tuple[str, ...],
    language: str,
    boxes: tuple[str, str],
  ):
    """Open records.

    Args:
      records: records; the last texts in `language` are values of `names`.
      names: fields, in the order of their texts.
      language: language of texts that name none.
      boxes: one of FORMS, and one of UNITS.
    """
    super().__init__(records)
    self._names = names
    self._language = language
    self._boxes = boxes

  def __getitem__(self, index: int) -> record_lib.Record:
    """Return a record with its captions, and its regions."""
    record = self._records[index]
    with faults.located(record.origin or record.key):
      texts, fields = self._split(record.texts)
      regions = regions_of(fields, *self._boxes)
    return dataclasses.replace(record, texts=texts, regions=regions)

  def fingerprint(self) -> str:
    """Return hex digits of the records, and of how their boxes are read."""
    facts = (self._records.fingerprint(), self._names, self._boxes)
    return record_lib.digest(facts)

  def _split(
    self, texts: Mapping[str, tuple[str, ...]]
  ) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return the captions by language, and the values of the fields."""
    own = texts.get(self._language, ())
    num_own = len(own) - len(self._names)
    values = own[max(num_own, 0) :]
    if num_own < 0 or not all(
      value.startswith(columns.VALUE_MARK) for value in values
    ):
      raise faults.ExampleError(
        "record_broken",
        f"expected a list, or none, for each of {list(self._names)}; got"
        f" {list(values)}",
      )
    captions = {**texts, self._language: own[:num_own]}
    return (
      {code: some for code, some in captions.items() if some},
      {
        name: value.removeprefix(columns.VALUE_MARK)
        for name, value in zip(self._names, values, strict=True)
      },
    )


def regions_of(
  fields: Mapping[str, str], form: str, unit: str
) -> tuple[record_lib.Region, ...]:
  """Return the regions of a record's fields, () where there is none.

  Args:
    fields: JSON of the lists BOXES and TEXTS; "" for none.
    form: one of FORMS.
    unit: one of UNITS.

  Raises:
    faults.ExampleError: "box_broken" for a box of other than four numbers, or
      not as many texts as boxes.

  >>> fields = {"boxes": "[[2, 3, 4, 5]]", "texts": '["a dog"]'}
  >>> regions_of(fields, "xywh", "pixels")
  (Region(box=(2.0, 3.0, 6.0, 8.0), text='a dog', is_share=False),)
  """
  boxes = json.loads(fields[BOXES]) if fields[BOXES] else []
  texts = json.loads(fields[TEXTS]) if fields[TEXTS] else []
  if len(boxes) != len(texts):
    raise faults.ExampleError(
      "box_broken",
      f"expected as many texts as boxes; got {len(texts)} and {len(boxes)}",
    )
  return tuple(
    record_lib.Region(_box(box, form), text, unit == SHARES)
    for box, text in zip(boxes, texts, strict=True)
  )


def _box(box: Any, form: str) -> tuple[float, float, float, float]:
  if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != 4:
    raise faults.ExampleError(
      "box_broken", f"expected four numbers of a box; got {box!r:.60}"
    )
  # A missing number, as tables have it, is no finite one either.
  try:
    left, top, right, bottom = (
      math.nan if side is None else float(side) for side in box
    )
  except (TypeError, ValueError) as error:
    raise faults.ExampleError(
      "box_broken", f"expected four numbers of a box; got {box!r:.60}"
    ) from error
  if form == XYWH:
    right, bottom = left + right, top + bottom
  return left, top, right, bottom


def _about_regions(
  source: source_config.SourceConfig, field: str, text: str
) -> str:
  """Return a format's message with the field that a user knows.

  Formats read regions as captions. The message is "" where it is about the
  captions themselves, or another field.
  """
  for end in _ENDS.values():
    text = text.replace(end, "")
  is_about = any(
    text.endswith(f"got {location!r}") or f"in column {location} " in text
    for _, location in source.region_fields
  )
  if not is_about or f"{field}.caption" not in text:
    return ""
  return text.replace(f"{field}.caption", f"{field}.region_fields")
