"""Figures of the sets whose answers a decoder writes."""

from collections.abc import Callable, Mapping
from typing import Any

from evaluators.generating import answered, referred
from evaluators.generating import captioner as captioner_lib
from evaluators.sets import asked_questions, expressions
from input_pipeline.regions import box_tokens
from runtime import checks


def check(
  sets: Mapping[str, Any], tasks: tuple[str, ...], model: str = "the config"
) -> None:
  """Raise ValueError for sets whose task a decoder was not taught.

  Args:
    sets: sections of the sets by name.
    tasks: tasks of the decoder, of Vocabulary.tasks; () without a decoder.
    model: phrase for the run in messages, such as its folder.
  """
  if sets and not tasks:
    checks.refuse(
      f"evaluate.sets.{next(iter(sets))} needs a decoder, which writes boxes"
      f" and answers: expected decoding.weight above 0; {model} has none"
    )
    return
  for name, one in sets.items():
    is_asked = isinstance(one, asked_questions.AnsweringConfig)
    if is_asked and box_tokens.ANSWER not in tasks:
      checks.refuse(
        f"evaluate.sets.{name} needs a decoder that learned answers to"
        " questions: expected data.regions.answers=True;"
        f" {model} has the tasks {', '.join(tasks)}"
      )
    elif not is_asked and box_tokens.REFERRING not in tasks:
      checks.refuse(
        f"evaluate.sets.{name} needs a decoder that learned boxes of"
        " texts: expected a probability above 0 of referring in"
        f" data.regions.probabilities; {model} has the tasks {', '.join(tasks)}"
      )


def results(
  sets: Mapping[str, expressions.Expressions | asked_questions.Questions],
  writer: captioner_lib.Captioner,
  should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
  """Return the records of sets by name.

  Raises as `referred.evaluate` and `answered.evaluate`.
  """
  return {
    name: (
      answered.evaluate(opened, writer, should_stop).record
      if isinstance(opened, asked_questions.Questions)
      else referred.evaluate(opened, writer, should_stop).record
    )
    for name, opened in sets.items()
  }
