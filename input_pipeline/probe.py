"""Check of a source's first examples before a run begins."""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import logging

from input_pipeline import captions, faults
from input_pipeline import languages as languages_lib
from input_pipeline.images import image_ops
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config

# Most examples that are read: from a distant bucket, they take seconds.
NUM_PROBED = 100
# Seconds, and faults, after which nothing but faults is enough: a server that
# never answers takes a minute for each example.
_SECONDS = 180.0
_NUM_FAULTS = 5
# Seconds for which each source is searched for a language.
SEARCH_SECONDS = 20.0


def check(
  name: str,
  source: source_config.SourceConfig,
  records: record_lib.Records,
  languages: Sequence[str],
  decode: Callable[[bytes], object] = image_ops.decode,
) -> None:
  """Raise ValueError if none of the first examples can be trained on.

  One example with a caption in one of the languages and one with an image that
  can be decoded are enough.

  Args:
    name: name of the source.
    source: its section.
    records: its examples.
    languages: data.languages.
    decode: decodes an image, or some of a video; raises faults.ExampleError.
  """
  num_probed = min(len(records), NUM_PROBED)
  start = time.monotonic()
  present: set[str] = set()
  has_image = False
  errors: list[faults.ExampleError] = []
  for index in range(num_probed):
    try:
      record = records[index]
      present |= _languages(record)
      if not has_image:
        with faults.located(record.origin):
          decode(record.image)
        has_image = True
    except faults.ExampleError as error:
      errors.append(error)
      is_late = time.monotonic() - start > _SECONDS
      if is_late and len(errors) == index + 1 >= _NUM_FAULTS:
        num_probed = index + 1
        break
    if has_image and any(
      languages_lib.texts_in(dict.fromkeys(present, ("",)), language)
      for language in languages
    ):
      return
  where = f"the first {num_probed} examples of data.sources.{name}"
  if len(errors) == num_probed:
    raise ValueError(
      f"none of {where} can be used: {errors[0].kind}: {errors[0]}"
    )
  if not present:
    raise ValueError(
      f"none of {where} has a caption; data.sources.{name}.caption says where "
      f"captions are; got {list(source.caption)}"
    )
  raise ValueError(
    f"data.languages must be some of {sorted(present)}, in which {where} have "
    f"captions; got {list(languages)}"
  )


def check_languages(
  opened: Mapping[str, record_lib.Records],
  sections: Mapping[str, source_config.SourceConfig],
  languages: Sequence[str],
) -> None:
  """Raise ValueError for a language in which no example has a caption.

  Examples are read in an order that is spread over a source, until each
  language is there or SEARCH_SECONDS are over. Where these did not suffice, a
  language may be in the rest, and there is a warning, unless all captions so
  far are in the section's `language` and nothing names another.
  """
  missing = {languages_lib.normalised(code): code for code in languages}
  present: dict[str, str] = {}
  orders = {name: _spread(len(records)) for name, records in opened.items()}
  counts = dict.fromkeys(opened, 0)
  codes: dict[str, set[str]] = {name: set() for name in opened}
  is_sure = True
  for limit in (NUM_PROBED, None):
    is_sure = True
    for name, records in opened.items():
      start, own = time.monotonic(), codes[name]
      for index in itertools.islice(orders[name], limit):
        counts[name] += 1
        with contextlib.suppress(faults.ExampleError):
          own |= _languages(records[index])
        for code in own:
          present.setdefault(languages_lib.normalised(code), code)
          missing.pop(languages_lib.normalised(code), None)
        if not missing:
          return
        if time.monotonic() - start > SEARCH_SECONDS:
          break
      section = sections[name]
      may_vary = bool(section.language_field) or not own <= {section.language}
      is_sure &= counts[name] == len(records) or not may_vary
  checked = ", ".join(
    f"{counts[name]:,} of {len(records):,} of data.sources.{name}"
    for name, records in opened.items()
  )
  message = (
    f"no caption is in {', '.join(missing.values())}, of data.languages; the "
    f"examples have {', '.join(sorted(present.values())) or 'none'} (read: "
    f"{checked})"
  )
  if is_sure:
    raise ValueError(message)
  logging.warning("%s", message)


def _languages(record: record_lib.Record) -> set[str]:
  """Return the languages of an example's captions."""
  return {
    language
    for language, texts in record.texts.items()
    if not all(map(captions.is_blank, texts))
  }


def _spread(length: int) -> Iterator[int]:
  """Yield 0 to length - 1, each once, neighbours far apart."""
  step = int(length * (math.sqrt(5) - 1) / 2) or 1
  while math.gcd(step, length) != 1:
    step += 1
  return (number * step % length for number in range(length))
