"""Check of regions before a run begins, on examples of each source."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from input_pipeline import faults, tokenizers
from input_pipeline.asking import asked
from input_pipeline.images import boxed, picture
from input_pipeline.regions import box_tokens, region_rows, region_targets
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config

# Examples of a source that are read, evenly spaced; their images are not
# decoded. A share of 5 % of them is missed with a probability of 0.95**100.
NUM_PROBED = 100


@dataclasses.dataclass
class Probed:
  """Counts of the regions of a source's examples.

  Attributes:
    examples: examples that could be read.
    with_regions: examples that have a region.
    boxes: boxes of them.
    broken: boxes that are outside of their image, without area or not finite.
    first: message of the first one.
    reaching_out: boxes that reach beyond their image.
    tiny: boxes that lie in the first pixel of their image.
    captions: captions of images.
    long_captions: captions that are longer than a decoder's target has place
      for.
    texts: texts of regions.
    long: texts of regions that are longer than that.
    longest: ids of the longest text.
  """

  examples: int = 0
  with_regions: int = 0
  boxes: int = 0
  broken: int = 0
  first: str = ""
  reaching_out: int = 0
  tiny: int = 0
  captions: int = 0
  long_captions: int = 0
  texts: int = 0
  long: int = 0
  longest: int = 0


def check(
  config: region_targets.RegionsConfig,
  sections: Mapping[str, source_config.SourceConfig],
  opened: Mapping[str, record_lib.Records],
  tokenizer: tokenizers.Tokenizer,
  num_text: int,
) -> None:
  """Raise ValueError where a source's regions are not what its section says.

  Args:
    config: section `data.regions`; nothing is read where it is off.
    sections: sections of the sources.
    opened: records of the sources.
    tokenizer: tokenizer of the captions.
    num_text: data.vocab_size.

  Raises:
    ValueError: no question has an answer, no example has a region, more than
      half of the boxes cannot be used or reach beyond their image, all lie in
      one pixel, a target has no place for more than half of the captions or of
      the texts of regions, or the tokenizer has no end of text. Fewer texts
      without place are a warning.
  """
  if region_rows.make(config, tokenizer, num_text) is None:
    return
  for name in sorted(opened):
    if sections[name].question_fields:
      _refuse_unanswered(f"data.sources.{name}", opened[name])
    probed = probe(config, opened[name], tokenizer)
    if sections[name].region_fields:
      _refuse(f"data.sources.{name}", sections[name], probed)
    _check_lengths(f"data.sources.{name}", config.num_tokens, probed)


def _check_lengths(field: str, num_tokens: int, probed: Probed) -> None:
  """Refuse a length that cuts most texts; warn of one that cuts some."""
  for noun, count, long in (
    ("captions", probed.captions, probed.long_captions),
    ("texts of regions", probed.texts, probed.long),
  ):
    said = (
      f"{long} of {count} {noun} of {field} are longer than data.regions."
      f"num_tokens={num_tokens} has place for; the longest text has"
      f" {probed.longest} ids"
    )
    if long > count / 2:
      raise ValueError(
        f"{said}. Raise data.regions.num_tokens and"
        " decoding.decoder.num_tokens with it"
      )
    if long:
      logging.warning("%s. These lose their end", said)


def probe(
  config: region_targets.RegionsConfig,
  records: record_lib.Records,
  tokenizer: tokenizers.Tokenizer,
) -> Probed:
  """Return the counts of NUM_PROBED examples of a source."""
  probed = Probed()
  count = min(len(records), NUM_PROBED)
  for place in range(count):
    with contextlib.suppress(faults.ExampleError):
      record = records[place * len(records) // count]
      height, width = picture.size(record.image)
      probed.examples += 1
      probed.with_regions += bool(record.regions)
      _add(probed, record.regions, height, width)
      # Ids of a target beside those of the text: the end, and a box.
      room = config.num_tokens - 1
      for text in (x for some in record.texts.values() for x in some):
        length = len(tokenizer.ids(text))
        probed.captions += 1
        probed.long_captions += length > room
        probed.longest = max(probed.longest, length)
      for region in record.regions:
        length = len(tokenizer.ids(region.text))
        probed.texts += 1
        probed.long += length > room - box_tokens.NUM_SIDES
        probed.longest = max(probed.longest, length)
  return probed


def _refuse_unanswered(field: str, records: record_lib.Records) -> None:
  """Raise ValueError where no probed question of a source has an answer."""
  count = min(len(records), NUM_PROBED)
  for place in range(count):
    with contextlib.suppress(faults.ExampleError):
      fields = records[place * len(records) // count].fields
      region_rows.answer_of(asked.question_of(fields))
      return
  raise ValueError(
    f"none of {count} examples of {field} that were read has an answer;"
    f" {field}.question_fields says where it is"
  )


def _add(
  probed: Probed,
  regions: Sequence[record_lib.Region],
  height: int,
  width: int,
) -> None:
  """Count the boxes of an image of this size."""
  box_M4 = region_rows.in_pixels(regions, height, width)
  is_sound_M = boxed.are_sound(box_M4, height, width)
  probed.boxes += len(regions)
  probed.broken += int((~is_sound_M).sum())
  if not is_sound_M.all() and not probed.first:
    first_4 = box_M4[is_sound_M.argmin()]
    probed.first = boxed.problem(first_4, height, width)
  sound_M4 = box_M4[is_sound_M]
  reach_M = region_rows.reach_out(sound_M4, height, width)
  probed.reaching_out += int(reach_M.sum())
  is_pixels_M = np.array([not x.is_share for x in regions], bool)[is_sound_M]
  probed.tiny += int((is_pixels_M & (sound_M4 <= 1).all(axis=1)).sum())


def _refuse(
  field: str, source: source_config.SourceConfig, probed: Probed
) -> None:
  where = f"{probed.examples} examples of {field}"
  said = f"{field}.box_form={source.box_form!r}, box_unit={source.box_unit!r}"
  if not probed.with_regions:
    raise ValueError(
      f"none of {where} that were read has a region; {field}.region_fields says"
      f" where they are; got {dict(source.region_fields)}"
    )
  sound = probed.boxes - probed.broken
  if probed.broken > probed.boxes / 2:
    raise ValueError(
      f"{probed.broken} of {probed.boxes} boxes of {where} cannot be used as"
      f" {said}; the first: {probed.first}"
    )
  if probed.reaching_out > sound / 2:
    raise ValueError(
      f"{probed.reaching_out} of {sound} boxes of {where} reach beyond their"
      f" image as {said}"
    )
  if probed.tiny == sound:
    raise ValueError(
      f"all {sound} boxes of {where} lie in the first pixel of their image as"
      f' {said}; box_unit="shares" reads shares of its sides'
    )
