"""Figures of the sets whose answers a decoder writes."""

from collections.abc import Callable, Mapping
from typing import Any

from evaluators.generating import captioner as captioner_lib
from evaluators.generating import referred
from evaluators.sets import expressions
from input_pipeline.regions import box_tokens
from runtime import checks


def check(
  sets: Mapping[str, Any], tasks: tuple[str, ...], model: str = "the config"
) -> None:
  """Raise ValueError for sets whose task a decoder was not taught.

  Args:
    sets: opened sets, or their sections, by name.
    tasks: tasks of the decoder, of box_tokens.TASKS; () without a decoder.
    model: phrase for the run in messages, such as its folder.
  """
  if sets and not tasks:
    checks.refuse(
      f"evaluate.sets.{next(iter(sets))} needs a decoder, which writes boxes:"
      f" expected decoding.weight above 0; {model} has none"
    )
  elif sets and box_tokens.REFERRING not in tasks:
    checks.refuse(
      f"evaluate.sets.{next(iter(sets))} needs a decoder that learned boxes of"
      " texts: expected a probability above 0 of referring in"
      f" data.regions.probabilities; {model} has the tasks {', '.join(tasks)}"
    )


def results(
  sets: Mapping[str, expressions.Expressions],
  writer: captioner_lib.Captioner,
  should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
  """Return the records of sets by name; raises as `referred.evaluate`."""
  return {
    name: referred.evaluate(opened, writer, should_stop).record
    for name, opened in sets.items()
  }
