"""Sample that the evaluations of a run take, all but the last one.

evaluate.max_fraction limits the share of a run's time that they have. How many
examples that allows is decided once in a run, by measured times, and saved in
its folder: figures of different steps, and those after the run was resumed, are
taken on the same examples.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluators import embedding, suite, suite_data
from input_pipeline import evaluation_split
from runtime import cluster
from runtime.storage import whole_files
from training import metrics

NAME = "evaluation_sample.json"
# Batches of each source in the two evaluations that are measured.
_FEW, _MORE = 1, 4


@dataclasses.dataclass(frozen=True)
class Sample:
  """Decision about a run, the content of evaluation_sample.json.

  Attributes:
    num_examples: most examples of a source; None for all.
    max_fraction: evaluate.max_fraction that it was made for.
    every_steps: evaluate.every_steps that it was made for.
    step_seconds: measured time of a training step.
    seconds: expected time of an evaluation on the sample.
    whole_seconds: expected time of one on all examples.
  """

  num_examples: int | None
  max_fraction: float
  every_steps: int
  step_seconds: float
  seconds: float
  whole_seconds: float

  def share(self, seconds: float) -> float:
    """Return the share of a run's time of evaluations of so many seconds."""
    return seconds / (seconds + self.every_steps * self.step_seconds)

  def __str__(self) -> str:
    limit = f"evaluate.max_fraction={self.max_fraction:g}"
    whole = f"{self.share(self.whole_seconds):.0%} of the time ({limit})"
    if self.num_examples is None:
      return f"Evaluations take all examples: {whole}"
    return (
      f"Evaluations but the last take at most {self.num_examples:,} examples of"
      f" a source, {self.share(self.seconds):.0%} of the time: all would take"
      f" {self.whole_seconds:,.1f} s, {whole}"
    )


@dataclasses.dataclass(frozen=True)
class Cost:
  """Measured time of evaluations.

  Attributes:
    example_seconds: seconds for each image of a source, by source.
    rest_seconds: seconds for each example for captions and figures.
    fixed_seconds: seconds that do not depend on the examples.
    sizes: number of examples of each source.
  """

  example_seconds: Sequence[float]
  rest_seconds: float
  fixed_seconds: float
  sizes: Sequence[int]

  def seconds(self, num: int) -> float:
    """Return the time of an evaluation on `num` examples of each source."""
    return self.fixed_seconds + sum(
      min(size, num) * (each + self.rest_seconds)
      for size, each in zip(self.sizes, self.example_seconds, strict=True)
    )


def choose(
  cost: Cost,
  *,
  config: suite_data.EvaluateConfig,
  step_seconds: float,
) -> Sample:
  """Return the largest sample within the limit, of whole batches.

  It has one batch at least: a batch that is not full takes as long.

  Args:
    cost: measured.
    config: section `evaluate` of the run, its max_fraction below 1.
    step_seconds: measured time of a training step.
  """
  limit = config.max_fraction / (1 - config.max_fraction)
  budget = limit * config.every_steps * step_seconds
  size = config.batch_size
  most = -(-max(cost.sizes, default=0) // size)  # batches
  whole_seconds = cost.seconds(most * size)
  num: int | None = None
  if whole_seconds > budget and most > 1:
    low, high = 1, most
    while high - low > 1:
      middle = (low + high) // 2
      is_within = cost.seconds(middle * size) <= budget
      low, high = (middle, high) if is_within else (low, middle)
    num = low * size
  return Sample(
    num_examples=num,
    max_fraction=config.max_fraction,
    every_steps=config.every_steps,
    step_seconds=step_seconds,
    seconds=whole_seconds if num is None else cost.seconds(num),
    whole_seconds=whole_seconds,
  )


def measure(
  data: suite_data.Data,
  run: Callable[[suite_data.Data, suite.EmbedSplit], Any],
  images_fn: suite.EmbedSplit,
) -> Cost:
  """Return the cost of evaluations, by two small ones that are measured.

  Args:
    data: all examples.
    run: evaluates data whose images a function embeds.
    images_fn: embeds images.
  """
  size = data.config.batch_size
  for num in (_FEW, _MORE):  # compiles
    run(data.sample(num * size), images_fn)
  (_, few, few_rest), (each, more, more_rest) = (
    _timed(data.sample(num * size), run, images_fn) for num in (_FEW, _MORE)
  )
  rest = max(0.0, more_rest - few_rest) / max(1, more - few)
  return Cost(
    example_seconds=list(each.values()),
    rest_seconds=rest,
    fixed_seconds=max(0.0, more_rest - rest * more),
    sizes=[len(data.splits[source]) for source in each],
  )


def _timed(
  data: suite_data.Data,
  run: Callable[[suite_data.Data, suite.EmbedSplit], Any],
  images_fn: suite.EmbedSplit,
) -> tuple[Mapping[suite_data.Source, float], int, float]:
  """Return seconds an image, number of examples, and seconds of the rest."""
  each: dict[suite_data.Source, float] = {}
  num, total = 0, 0.0

  def images(
    source: suite_data.Source, split: evaluation_split.Split
  ) -> embedding.Examples:
    nonlocal num, total
    start = time.monotonic()
    examples = images_fn(source, split)
    seconds = time.monotonic() - start
    each[source] = seconds / len(split)
    num, total = num + len(split), total + seconds
    return examples

  start = time.monotonic()
  run(data, images)
  return each, num, time.monotonic() - start - total


def read(
  folder: pathlib.Path, config: suite_data.EvaluateConfig
) -> Sample | None:
  """Return what was decided in a run, None where its limit was another."""

  def of_first() -> dict[str, Any] | None:
    try:
      return json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
      return None

  fields = cluster.on_first(of_first)
  if fields is None:
    return None
  sample = Sample(**fields)
  wanted = config.max_fraction, config.every_steps
  return sample if (sample.max_fraction, sample.every_steps) == wanted else None


def decide(folder: pathlib.Path, make: Callable[[], Sample]) -> Sample:
  """Return process 0's decision on every process; save it, and say it."""

  def of_first() -> dict[str, Any]:
    fields = dataclasses.asdict(make())
    text = json.dumps(fields, indent=2)
    whole_files.write(folder / NAME, f"{text}\n".encode())
    return fields

  sample = Sample(**cluster.on_first(of_first))
  metrics.say(str(sample))
  return sample
