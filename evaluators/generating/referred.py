"""Referring accuracy of a decoder: the boxes that it finds for expressions.

For each expression of an image the decoder writes a box greedily; a box is one
of the part that the image protocol leaves, and is compared in pixels of the
stored image. Beside the decoder's figures stand those of rules that read no
expression, and of the annotated boxes as the decoder can write them: cut off at
the part that is seen, rounded to its bins.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from evaluators import row_batches
from evaluators.generating import asking_ahead, places, settings
from evaluators.generating import captioner as captioner_lib
from evaluators.metrics.generation import referring
from evaluators.sets import expressions
from input_pipeline import captions, faults, model_inputs
from input_pipeline.images import boxed, image_ops
from input_pipeline.regions import box_tokens, region_rows
from input_pipeline.sources import record as record_lib

# Rules that read no expression. The centre box has half of each side: ours.
WHOLE, CENTRE = "whole image", "centre box"
# The annotated box as the decoder can write it.
WRITABLE = "annotated box in bins"


class Example(NamedTuple):
  """Expression with its annotation, and what was found for it.

  Attributes:
    split: name of its split, "" without splits.
    key: name of the image.
    text: expression.
    image: number of the image; copies of one image share it.
    shape: height and width of the stored image in pixels.
    truth: annotated box in pixels.
    writable: the same as the decoder can write it; None where it is outside of
      the part that the image protocol leaves.
    found: box that the decoder wrote, in pixels; None where it wrote no box.
  """

  split: str
  key: str
  text: str
  image: int
  shape: tuple[int, int]
  truth: places.Box
  writable: places.Box | None
  found: places.Box | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Figures of a set, and its expressions in order.

  Attributes:
    record: record for results.json, of kind "referring".
    examples: expressions.
  """

  record: dict[str, Any]
  examples: tuple[Example, ...]


def evaluate(
  opened: expressions.Expressions,
  writer: captioner_lib.Captioner,
  should_stop: Callable[[], bool] | None = None,
) -> Outcome:
  """Find the boxes of all expressions, and judge them.

  Args:
    opened: set of expressions.
    writer: decoder with its model.
    should_stop: function that ends the evaluation early, called before each
      batch; equal on all processes. None never does.

  Raises:
    ValueError: an image, a box or a text cannot be used, or the expressions are
      of one image alone.
    embedding.Interrupted: the evaluation was told to stop.
  """
  waiting: collections.deque[Example] = collections.deque()
  counts: collections.Counter[str] = collections.Counter()
  examples = []
  requests = _requests(opened, writer, waiting, counts)
  for example, written in asking_ahead.written(
    *(writer, requests, waiting),
    field=opened.field,
    noun="expressions",
    should_stop=should_stop,
  ):
    found = writer.box_of(written)
    if found is not None:
      pixels = places.to_pixels(writer.image_protocol, example.shape, found)
      example = example._replace(found=pixels)
    examples.append(example)
  return Outcome(_record(opened, writer, examples, counts), tuple(examples))


def _record(
  opened: expressions.Expressions,
  writer: captioner_lib.Captioner,
  examples: list[Example],
  counts: collections.Counter[str],
) -> dict[str, Any]:
  """Return the record of a set's expressions."""
  if not examples:
    raise ValueError(
      f"{opened.field} has no expressions: no image has a region"
    )
  size_N2 = np.array([one.shape[::-1] for one in examples], np.float64)
  corner_N2 = np.zeros_like(size_N2)
  try:
    made = referring.record(
      _boxes([one.found for one in examples]),
      _boxes([one.truth for one in examples]),
      [one.image for one in examples],
      [one.split for one in examples],
      baselines={
        WHOLE: np.hstack([corner_N2, size_N2]),
        CENTRE: np.hstack([size_N2 / 4, size_N2 * 3 / 4]),
        WRITABLE: _boxes([one.writable for one in examples]),
      },
    )
  except ValueError as error:
    raise ValueError(f"{opened.field}: {error}") from error
  vocabulary, protocol = writer.vocabulary, writer.image_protocol
  method = settings.Settings().facts(writer.decoder.num_tokens)["method"]
  made["protocol"] |= {
    "broken_is": "wrong: ids that are no box, or a box without area",
    "generation": {
      "method": method,
      "num_bins": vocabulary.num_bins,
      "order": vocabulary.order,
      "num_tokens": writer.decoder.num_tokens,
      "num_texts_cut": counts["texts_cut"],
    },
    "image_protocol": model_inputs.protocol_facts(protocol),
    "dtype": writer.model.config.dtype,
    "num_examples": counts["images"],
    "num_without_region": counts["without_region"],
    "data_fingerprint": opened.fingerprint(),
  }
  return made


def _requests(
  opened: expressions.Expressions,
  writer: captioner_lib.Captioner,
  waiting: collections.deque[Example],
  counts: collections.Counter[str],
) -> Generator[captioner_lib.Request]:
  """Yield the request of each expression; put the expression in `waiting`."""
  numbers: dict[bytes, int] = {}
  for split, records in opened.splits.items():
    read = functools.partial(_read, writer.image_protocol, records)
    for record, shape, image, box_M4 in asking_ahead.read(
      read, len(records), opened.num_threads
    ):
      counts["images"] += 1
      counts["without_region"] += not record.regions
      number = numbers.setdefault(record.image_id(), len(numbers))
      for region, box_4 in zip(record.regions, box_M4, strict=True):
        truth = tuple(box_4.tolist())
        waiting.append(
          Example(
            *(split, record.key, region.text, number, shape, truth),
            _writable(writer, shape, truth),
          )
        )
        request = writer.referring(image, region.text)
        num_ids = len(writer.tokenizer.ids(region.text))
        counts["texts_cut"] += len(request.given) < 1 + num_ids
        yield request


def _read(
  protocol: model_inputs.Protocol, records: record_lib.Records, row: int
) -> tuple[record_lib.Record, tuple[int, int], row_batches.Row, np.ndarray]:
  """Return a record, its image's shape, the model's input, and its boxes.

  Boxes are float64 [M, 4] in pixels of the image as it is stored, annotated as
  they are: they are not cut off at its sides.
  """
  record = records[row]
  with faults.located(record.origin or record.key):
    pixels_YXC = image_ops.decode(record.image)
    height, width = pixels_YXC.shape[:2]
    box_M4 = region_rows.in_pixels(record.regions, height, width)
    for number, region in enumerate(record.regions):
      if problem := boxed.problem(box_M4[number], height, width):
        raise faults.ExampleError("box_broken", f"region {number} {problem}")
      if captions.is_blank(region.text):
        raise faults.ExampleError(
          "caption_missing", f"region {number} has no text"
        )
    return record, (height, width), protocol.apply(pixels_YXC), box_M4


def _writable(
  writer: captioner_lib.Captioner,
  shape: tuple[int, int],
  box: places.Box,
) -> places.Box | None:
  """Return a box as the decoder can write it; None outside of what is seen."""
  protocol, vocabulary = writer.image_protocol, writer.vocabulary
  try:
    share_4 = places.to_shares(protocol, shape, box)
  except ValueError:  # of a part that a crop leaves out
    return None
  share_4, _ = vocabulary.boxes(vocabulary.box_ids(share_4))
  return places.to_pixels(protocol, shape, share_4)


def _boxes(some: list[places.Box | None]) -> np.ndarray:
  """Return boxes as float64 [N, 4], NaN where there is none."""
  none = (np.nan,) * box_tokens.NUM_SIDES
  return np.array([none if box is None else box for box in some], np.float64)
