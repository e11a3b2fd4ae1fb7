"""Answers of a run's model, and their figures."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from evaluators import embedding, suite
from evaluators.metrics import answering as figures
from input_pipeline import model_inputs
from input_pipeline.questions import question_data
from runtime import mesh as mesh_lib
from runtime.storage import whole_files
from training import config as config_lib
from training.objectives import answers as answers_lib
from training.objectives import objective as objective_lib

ANSWERS = "answers.jsonl"
# Split of the figures of a finished run.
_TEST = "test"


@dataclasses.dataclass(frozen=True)
class Answered:
  """A split, answered.

  Attributes:
    head_N: head that answered each question.
    label_N: index of the answer there.
    right_N: bool, whether it is the annotated answer.
  """

  split: question_data.Split
  head_N: np.ndarray
  label_N: np.ndarray

  @property
  def right_N(self) -> np.ndarray:
    split = self.split
    is_same = (self.head_N == split.head_N) & (self.label_N == split.label_N)
    return is_same & (split.label_N >= 0)


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Data of a run, and the functions that answer its questions.

  Attributes:
    protocol: image protocol, for the record.
    answer_fn: (variables, batch) -> (head_B, label_B).
    should_stop: whether the run is to end; asked before each batch.
  """

  config: config_lib.Config
  folder: pathlib.Path
  data: question_data.Data
  protocol: model_inputs.Protocol
  mesh: jax.sharding.Mesh
  answer_fn: Callable[[Any, answers_lib.Batch], Any]
  should_stop: Callable[[], bool]

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return figures of the split that the best epoch is chosen on.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    del step_seconds  # each epoch evaluates the whole split
    split = self.data.selection
    record = self._record(split, self.answer(variables, split))
    return {
      f"{name_of(self.config, split)}/{name}": record[name]
      for name in ("overall", *figures.TYPES, "routing")
      if name in record
    }

  def final(
    self, variables: Any, selected: Mapping[str, Any] | None
  ) -> suite.Results:
    """Return results of the best epoch; write the test split's answers.

    Args:
      variables: those of the best epoch.
      selected: facts about it.
    """
    results = {}
    for split in dict.fromkeys((_TEST, self.data.selection)):
      answered = self.answer(variables, split)
      results[name_of(self.config, split)] = self._record(split, answered) | {
        "protocol": {
          "selected": dict(selected or {}),
          "legacy_protocol": self.config.vqa.legacy_protocol,
          "num_examples": len(answered.split),
          "image_protocol": model_inputs.protocol_facts(self.protocol),
          "dtype": self.config.model.dtype,
          "data_digest": self.data.digest(),
        }
      }
      if split == _TEST:
        self._write_answers(answered)
    return results

  def answer(self, variables: Any, split: str) -> Answered:
    """Answer the questions of a split."""
    head_N, label_N = in_batches(
      self.data,
      split,
      lambda arrays: self.answer_fn(
        variables,
        mesh_lib.make_global(answers_lib.batch_of(arrays), self.mesh),
      ),
      size=self.config.evaluate.batch_size,
      mesh=self.mesh,
      should_stop=self.should_stop,
    )
    return Answered(self.data.splits[split], head_N, label_N)

  def _record(self, split: str, answered: Answered) -> dict[str, Any]:
    train, part = self.data.splits["train"].questions, answered.split
    guesses = figures.guesses(
      [q.answer for q in train], [q.type for q in train]
    )
    record = figures.record(
      answered.right_N,
      part.type_N,
      np.array([guesses.get(q.type) == q.answer for q in part.questions]),
      answered.head_N == part.head_N
      if len(self.data.num_answers) > 1
      else None,
    )
    return record | {"num_outside": part.num_outside}

  def _write_answers(self, answered: Answered) -> None:
    heads = [*self.data.answers.heads.items()]
    lines = []
    for question, head, label, is_right in zip(
      answered.split.questions,
      answered.head_N,
      answered.label_N,
      answered.right_N,
      strict=True,
    ):
      name, listed = heads[head]
      line = dataclasses.asdict(question) | {
        "type": figures.TYPES[question.type],
        "head": name,
        "answered": listed[label],
        "right": bool(is_right),
      }
      lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    whole_files.write(self.folder / ANSWERS, "".join(lines).encode())


def in_batches(
  data: question_data.Data,
  split: str,
  fn: Callable[[dict[str, np.ndarray]], tuple[jax.Array, ...]],
  *,
  size: int,
  mesh: jax.sharding.Mesh,
  should_stop: Callable[[], bool],
) -> tuple[np.ndarray, ...]:
  """Return the arrays that `fn` returns, for all questions of a split.

  Args:
    data: questions.
    split: name of the split.
    fn: arrays of a batch by name -> arrays with a row a question.
    size: questions of a batch.
    mesh: mesh of the run.
    should_stop: whether the run is to end; asked before each batch.

  Raises:
    embedding.Interrupted: the run was asked to end.
  """
  num_rows, pieces = len(data.splits[split]), []
  with jax.set_mesh(mesh):
    for start in range(0, num_rows, size):
      if should_stop():
        raise embedding.Interrupted
      rows = np.arange(start, min(start + size, num_rows))
      # The last batch repeats its last row: one shape compiles once.
      filled = np.pad(rows, (0, size - len(rows)), mode="edge")
      found = jax.device_get(fn(data.arrays(split, filled)))
      pieces.append([x[: len(rows)] for x in found])
  return tuple(map(np.concatenate, zip(*pieces, strict=True)))


def name_of(config: config_lib.Config, split: str) -> str:
  """Return the name of a split's figures."""
  layout = config.vqa.layout
  return layout if split == _TEST else f"{layout}_{split}"


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  data: question_data.Data,
  objective: objective_lib.Objective,
  *,
  folder: pathlib.Path,
  protocol: model_inputs.Protocol,
  should_stop: Callable[[], bool],
) -> Evaluator:
  """Return the evaluator of a run; compiles nothing yet."""
  answer_fn = jax.jit(
    answers_lib.answer_fn(objective), out_shardings=mesh_lib.replicated(mesh)
  )
  return Evaluator(config, folder, data, protocol, mesh, answer_fn, should_stop)
