"""Rows of a run that trains a fused model, and its vocabulary of answers."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from input_pipeline import faults, pipeline
from input_pipeline.asking import answers as answers_lib
from input_pipeline.asking import rows as rows_lib
from models.fusion import fusion_config
from runtime import checks


def make_rows(
  fusion: fusion_config.FusionConfig,
  data: pipeline.DataConfig,
  *,
  opened: pipeline.Opened | None = None,
  folder: pathlib.Path | None = None,
) -> rows_lib.Rows:
  """Return what the batches of a run hold beside images.

  The answers are those of the run's folder, where it has been begun; else those
  of data.answers_path, or the most frequent ones of data.sources. `keep` writes
  them.

  Args:
    fusion: checked.
    data: checked.
    opened: `pipeline.open_sources`, where that has been done.
    folder: folder of the run; None for none.

  Raises:
    ValueError: the sources lack fields that the task needs, or the vocabulary
      has another size than fusion.num_answers.
  """
  check(fusion, data)
  made = rows_lib.Rows(
    fusion.task, num_choices=fusion.num_choices, num_labels=fusion.num_labels
  )
  if fusion.task not in (rows_lib.ANSWERED, rows_lib.SOFT):
    return made
  kept = answers_lib.kept(folder) if folder is not None else None
  if kept is not None:
    _check_size(kept, fusion, f"{folder}/{answers_lib.FILE}")
    return dataclasses.replace(made, answers=kept)
  opened = pipeline.open_sources(data) if opened is None else opened
  given = {name: _given(opened[name], fusion.task) for name in sorted(opened)}
  counts, guesses = answers_lib.count(
    one for some in given.values() for one in some
  )
  if data.answers_path:
    read = answers_lib.read(data.answers_path, "data.answers_path")
    _check_size(read, fusion, f"data.answers_path={data.answers_path}")
    listed = read.listed
  else:
    listed = tuple(counts)[: fusion.num_answers]
    if len(listed) < fusion.num_answers:
      raise ValueError(
        f"fusion.num_answers must be at most the {len(counts)} different"
        f" answers of data.sources; got {fusion.num_answers}"
      )
  answers = answers_lib.Answers(listed, guesses)
  for name, some in given.items():
    _warn(name, some, answers, fusion.task)
  return dataclasses.replace(made, answers=answers)


def keep(rows: rows_lib.Rows, folder: pathlib.Path) -> None:
  """Write the answers of rows into a run's folder; nothing without answers."""
  if rows.answers.listed:
    rows.answers.write(folder / answers_lib.FILE)


@checks.collected()
def check(
  fusion: fusion_config.FusionConfig, data: pipeline.DataConfig
) -> None:
  """Raise ValueError where sources cannot make the rows of a task.

  No data are read.
  """
  if data.augmentation.is_naflex:
    checks.refuse(
      "data.augmentation.resize must make square images with fusion.kind="
      f'{fusion.kind!r}; got "naflex"'
    )
  if data.regions.is_on:
    checks.refuse(
      f"data.regions.num_tokens must be 0 with fusion.kind={fusion.kind!r},"
      f" which has no decoder; got {data.regions.num_tokens}"
    )
  needed = rows_lib.NEEDS.get(fusion.task, ())
  for name, source in data.sources.items():
    field = f"data.sources.{name}.question_fields"
    there = [one for one, _ in source.question_fields]
    if needed and not {*needed} <= {*there}:
      checks.refuse(
        f"{field} must name {' and '.join(needed)} with fusion.task="
        f"{fusion.task!r}; got {', '.join(there) or '()'}"
      )
    elif there and not needed:
      checks.refuse(
        f"{field} must be () with fusion.task={fusion.task!r}, which reads"
        f" captions; got {', '.join(there)}"
      )
  if data.answers_path and fusion.task not in (
    rows_lib.ANSWERED,
    rows_lib.SOFT,
  ):
    checks.refuse(
      f'data.answers_path must be "" with fusion.task={fusion.task!r}; got'
      f" {data.answers_path!r}"
    )


def _given(records: Any, task: str) -> list[tuple[str, Sequence[str]]]:
  """Return type and answers of each question that can be read."""
  given: list[tuple[str, Sequence[str]]] = []
  for index in range(len(records)):
    try:
      question = records.question(index)
    except faults.ExampleError:
      continue
    humans = question.answers if task == rows_lib.SOFT else (question.answer,)
    given.append((question.answer_type, humans))
  return given


def _check_size(
  answers: answers_lib.Answers, fusion: fusion_config.FusionConfig, where: str
) -> None:
  if len(answers.listed) != fusion.num_answers:
    raise ValueError(
      f"fusion.num_answers must be {len(answers.listed)}, the answers of"
      f" {where}; got {fusion.num_answers}"
    )


def _warn(
  name: str,
  given: Sequence[tuple[str, Sequence[str]]],
  answers: answers_lib.Answers,
  task: str,
) -> None:
  """Log how many questions of a source have no answer in the vocabulary."""
  unknown = sum(
    all(answers.label(answer) < 0 for answer in some) for _, some in given
  )
  if unknown:
    happens = (
      "they train with a target of 0 for all answers"
      if task == rows_lib.SOFT
      else 'each is replaced by another and is a fault "answer_unknown", which'
      " data.max_bad_fraction does not count"
    )
    logging.warning(
      "%d of %d questions of data.sources.%s (%.1f %%) have no answer among the"
      " %d of the vocabulary: %s",
      *(unknown, len(given), name, 100 * unknown / len(given)),
      *(len(answers.listed), happens),
    )
