"""Arrays of an example with regions: which task, which region, and counts."""

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import captions, faults, tokenizers
from input_pipeline.asking import asked
from input_pipeline.images import augmentation, boxed
from input_pipeline.regions import box_tokens, region_targets
from input_pipeline.sources import record as record_lib

# Key of a batch under which its counts travel, int32 [len(COUNTED)] a row; the
# loader takes them out.
COUNTS = "region_counts"
# Name of a count -> meaning; one example adds to each what it has of it.
COUNTED = {
  "rows": "examples",
  "regions": "regions that the images have",
  "boxes_cut": "boxes cut off at a side of their image",
  "regions_broken": "regions left out: data.regions.broken='skip'",
  "regions_outside": "regions left out: the crop shows too little of them",
  "no_region": "captions in place of a region's task: the image has none",
  "none_visible": "captions in place of a region's task: the crop shows none",
  "texts_cut": "texts cut to fit data.regions.num_tokens",
}
_PLACES = {name: place for place, name in enumerate(COUNTED)}
# Pixels by which a box may reach beyond its image and is not counted as cut.
_SLACK = 1.0


@dataclasses.dataclass(frozen=True)
class Seen:
  """Regions of an image that are in its crop.

  Attributes:
    box_M4: float64 boxes in shares of the crop.
    texts: their captions.
    counts: numbers of COUNTED that came up.
  """

  box_M4: np.ndarray
  texts: tuple[str, ...]
  counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Rows:
  """Maker of the arrays of `RegionsConfig.shapes`; can be pickled.

  Attributes:
    config: section `data.regions`.
    tokenizer: tokenizer of the captions.
    writer: writer of the targets.
  """

  config: region_targets.RegionsConfig
  tokenizer: tokenizers.Tokenizer
  writer: region_targets.Writer

  def arrays(
    self,
    regions: Sequence[record_lib.Region],
    image: augmentation.Augmented,
    caption: str,
    rng: np.random.Generator,
    *,
    with_metadata: bool = False,
  ) -> dict[str, Any]:
    """Return the arrays of an example, and its counts.

    A region whose visible share is below `least_visible` is not used; where
    none is left, or there was none, the row is a caption instead (with
    tasks="all": the rows of a region have weights of 0).

    Args:
      regions: regions of the image as it is stored.
      image: image, and the moves of its augmentation.
      caption: caption of the image.
      rng: generator of two numbers: task, and region.
      with_metadata: whether "regions" is there too, str: JSON for people.

    Raises:
      faults.ExampleError: a box or a text cannot be used, with broken="fault".
    """
    draw_task, draw_region = rng.random(2)
    seen = self.seen(regions, image)
    counts = seen.counts
    chosen = int(draw_region * len(seen.texts)) if seen.texts else None
    if self.config.tasks == region_targets.ALL:
      tasks = box_tokens.TASKS
    else:
      tasks = (_drawn(self.config.probabilities, draw_task),)
    if chosen is None and {*tasks} != {box_tokens.CAPTION}:
      counts["none_visible" if len(regions) else "no_region"] = 1
      if self.config.tasks == region_targets.DRAWN:
        tasks = (box_tokens.CAPTION,)
    targets = []
    for task in tasks:
      if task == box_tokens.CAPTION:
        made = self.writer.write(task, self.tokenizer.ids(caption))
      elif chosen is None:
        made = self.writer.empty(task)
      else:
        text = self.tokenizer.ids(seen.texts[chosen])
        made = self.writer.write(task, text, seen.box_M4[chosen])
      counts["texts_cut"] = counts.get("texts_cut", 0) + (made.num_cut > 0)
      targets.append(made)
    numbers = np.zeros(len(COUNTED), np.int32)
    for name, number in counts.items():
      numbers[_PLACES[name]] = number
    row: dict[str, Any] = {
      "decoder_tokens": np.stack([x.tokens for x in targets]),
      "decoder_targets": np.stack([x.targets for x in targets]),
      "decoder_weights": np.stack([x.weights for x in targets]),
      "decoder_tasks": np.array(
        [box_tokens.TASKS.index(task) for task in tasks], np.int32
      ),
    }
    if self.config.tasks == region_targets.DRAWN:
      row = {name: array[0] for name, array in row.items()}
    if with_metadata:
      shown = {
        "boxes": seen.box_M4.tolist(),
        "texts": seen.texts,
        "chosen": None if {*tasks} == {box_tokens.CAPTION} else chosen,
      }
      row["regions"] = json.dumps(shown)
    return row | {COUNTS: numbers}

  def answered(
    self, question: asked.Question, *, with_metadata: bool = False
  ) -> dict[str, Any]:
    """Return the arrays of a question about an image, and their counts.

    Args:
      question: question with an answer.
      with_metadata: as of `arrays`.

    Raises:
      faults.ExampleError: "record_broken" where there is no answer.
    """
    made = self.writer.answer(
      self.tokenizer.ids(question.text), self.tokenizer.ids(answer_of(question))
    )
    numbers = np.zeros(len(COUNTED), np.int32)
    numbers[_PLACES["rows"]] = 1
    numbers[_PLACES["texts_cut"]] = made.num_cut > 0
    row: dict[str, Any] = {
      "decoder_tokens": made.tokens,
      "decoder_targets": made.targets,
      "decoder_weights": made.weights,
      "decoder_tasks": np.int32(
        self.writer.vocabulary.tasks.index(box_tokens.ANSWER)
      ),
    }
    if with_metadata:
      row["regions"] = json.dumps({"boxes": [], "texts": [], "chosen": None})
    return row | {COUNTS: numbers}

  def seen(
    self,
    regions: Sequence[record_lib.Region],
    image: augmentation.Augmented,
  ) -> Seen:
    """Return the regions that a crop shows, in their order.

    Raises:
      faults.ExampleError: as `arrays`.
    """
    height, width = image.height, image.width
    box_M4 = in_pixels(regions, height, width)
    is_sound_M = boxed.are_sound(box_M4, height, width)
    has_text_M = np.array(
      [not captions.is_blank(x.text) for x in regions], bool
    )
    is_usable_M = is_sound_M & has_text_M
    if self.config.broken == region_targets.FAULT and not is_usable_M.all():
      number = int(is_usable_M.argmin())
      kind = "box_broken"
      text = boxed.problem(box_M4[number], height, width)
      if not text:
        kind = "caption_missing"
        text = f"has no text; got {regions[number].text!r}"
      raise faults.ExampleError(kind, f"region {number} {text}")
    box_M4 = box_M4[is_usable_M]
    counts = {
      "rows": 1,
      "regions": len(regions),
      "regions_broken": len(regions) - len(box_M4),
      "boxes_cut": int(reach_out(box_M4, height, width).sum()),
    }
    box_M4 = boxed.check(box_M4, height, width)
    box_M4, share_M = boxed.follow(box_M4, image.moves)
    is_seen_M = share_M >= self.config.least_visible
    counts["regions_outside"] = int((~is_seen_M).sum())
    frame = image.moves[-1]
    sides = [frame.width, frame.height, frame.width, frame.height]
    numbers = is_usable_M.nonzero()[0][is_seen_M]
    return Seen(
      np.clip(box_M4[is_seen_M] / sides, 0, 1),
      tuple(regions[number].text for number in numbers),
      counts,
    )


def answer_of(question: asked.Question) -> str:
  """Return the answer that is learned: the annotated one, or the commonest.

  Of answers of humans that are as common, it is the first.

  Raises:
    faults.ExampleError: "record_broken" where there is no answer.

  >>> answer_of(asked.Question("What colour?", answers=("red", "blue", "red")))
  'red'
  """
  counts = collections.Counter(x for x in question.answers if x.strip())
  if question.answer.strip():
    return question.answer
  if not counts:
    raise faults.ExampleError(
      "record_broken", f"the question has no answer: {question.text[:60]!r}"
    )
  return max(counts, key=counts.__getitem__)


def make(
  config: region_targets.RegionsConfig,
  tokenizer: tokenizers.Tokenizer,
  num_text: int,
) -> Rows | None:
  """Return the rows of a section; None where it is off.

  Args:
    config: section `data.regions`, checked.
    tokenizer: tokenizer of the captions.
    num_text: data.vocab_size.

  Raises:
    ValueError: the tokenizer has no end of text.
  """
  if not config.is_on:
    return None
  if tokenizer.eos_id is None:
    raise ValueError(
      "data.tokenizer must have an end of text with data.regions.num_tokens="
      f"{config.num_tokens}: a decoder ends a caption with it; got one without"
    )
  writer = region_targets.Writer(
    config.vocabulary(num_text),
    config.num_tokens,
    tokenizer.eos_id,
    tokenizer.pad_id,
    config.given_weight,
  )
  return Rows(config, tokenizer, writer)


def counts_of(count_BK: np.ndarray) -> collections.Counter[str]:
  """Return the counts of a batch by their names, those of 0 left out."""
  totals = count_BK.sum(axis=0).tolist()
  named = zip(COUNTED, totals, strict=True)
  return collections.Counter({name: number for name, number in named if number})


def summary(counts: Mapping[str, int]) -> str:
  """Return counts of COUNTED as a line for people; "" for none.

  >>> summary({"rows": 8, "no_region": 2})
  '8 examples; captions in place of a region\'s task: the image has none: 2'
  """
  parts = [
    f"{COUNTED[name]}: {counts[name]:,}"
    for name in COUNTED
    if counts.get(name) and name != "rows"
  ]
  rows = counts.get("rows", 0)
  return "; ".join([f"{rows:,} examples", *parts]) if rows else ""


def without_region(counts: Mapping[str, int]) -> float:
  """Return the share of examples with a caption in place of a region's task."""
  instead = counts.get("no_region", 0) + counts.get("none_visible", 0)
  return instead / max(counts.get("rows", 0), 1)


def in_pixels(
  regions: Sequence[record_lib.Region], height: int, width: int
) -> np.ndarray:
  """Return boxes (left, top, right, bottom) in pixels, float64 [M, 4]."""
  sides = (width, height, width, height)
  box_M4 = np.array([region.box for region in regions], np.float64)
  factor_M4 = [sides if x.is_share else (1, 1, 1, 1) for x in regions]
  return box_M4.reshape(-1, 4) * np.array(factor_M4).reshape(-1, 4)


def reach_out(box_M4: np.ndarray, height: int, width: int) -> np.ndarray:
  """Return boxes, bool [M], that lie beyond their image by over a pixel."""
  left_M, top_M, right_M, bottom_M = box_M4.T
  is_above_M = (left_M < -_SLACK) | (top_M < -_SLACK)
  return is_above_M | (right_M > width + _SLACK) | (bottom_M > height + _SLACK)


def _drawn(probabilities: Sequence[float], draw: float) -> str:
  """Return the task of a draw from 0 to 1."""
  ends = np.cumsum(probabilities)[:-1] / sum(probabilities)
  return box_tokens.TASKS[int(np.searchsorted(ends, draw, side="right"))]
