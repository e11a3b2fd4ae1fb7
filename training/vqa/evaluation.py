"""Answers of a run's model, their figures, and the weights of the best epoch.

best.safetensors in the run's folder has the variables of the epoch that
answered most questions of the selection split, with its step and that share. A
resumed run replaces it only by a better one.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from safetensors import numpy as safetensors

from evaluators import embedding, suite
from evaluators.metrics import answering as figures
from input_pipeline import model_inputs
from input_pipeline.questions import question_data
from models.pretrained import mapping
from runtime import mesh as mesh_lib
from runtime import sections
from runtime.storage import whole_files
from training import config as config_lib
from training import metrics
from training.objectives import answers as answers_lib
from training.objectives import objective as objective_lib

BEST, ANSWERS = "best.safetensors", "answers.jsonl"
_STEP, _SHARE = "step", "share"
_VARIABLES = "variables/"
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

  def scalars(
    self, variables: Any, step_seconds: float, *, step: int
  ) -> dict[str, float]:
    """Return figures of the selection split; keep the weights if it is best.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    del step_seconds  # every epoch evaluates the whole split
    split = self.data.selection
    record = self._record(split, self.answer(variables, split))
    best = _read(self.folder)
    if best is None or record["overall"] > float(best[_SHARE]):
      keep_best(self.folder, variables, step=step, share=record["overall"])
    return {
      f"{self._name(split)}/{name}": record[name]
      for name in ("overall", *figures.TYPES, "routing")
      if name in record
    }

  def final(
    self, variables: Any, step: int
  ) -> tuple[suite.Results, dict[str, float]]:
    """Return results of the best epoch, and the last state's figures.

    The test split's answers are written to answers.jsonl.
    """
    last = self.scalars(variables, 0.0, step=step)
    found = read_best(self.folder, variables)
    assert found is not None  # `scalars` has kept one
    step, share, best = found
    metrics.say(
      f"Best epoch: that of step {step}, {share:.3f} of"
      f" {self._name(self.data.selection)}"
    )
    results = {}
    for split in dict.fromkeys((_TEST, self.data.selection)):
      answered = self.answer(best, split)
      results[self._name(split)] = self._record(split, answered) | {
        "protocol": {
          "selection": self.data.selection,
          "legacy_protocol": self.config.vqa.legacy_protocol,
          "step": step,
          "num_examples": len(answered.split),
          "image_protocol": model_inputs.protocol_facts(self.protocol),
          "dtype": self.config.model.dtype,
          "data_digest": self.data.digest(),
        }
      }
      if split == _TEST:
        self._write_answers(answered)
    return results, last

  def answer(self, variables: Any, split: str) -> Answered:
    """Answer the questions of a split."""
    part, size = self.data.splits[split], self.config.evaluate.batch_size
    pieces = []
    with jax.set_mesh(self.mesh):
      for start in range(0, len(part), size):
        if self.should_stop():
          raise embedding.Interrupted
        rows = np.arange(start, min(start + size, len(part)))
        # The last batch repeats its last row: one shape compiles once.
        filled = np.pad(rows, (0, size - len(rows)), mode="edge")
        batch = answers_lib.batch_of(self.data.arrays(split, filled))
        batch = mesh_lib.make_global(batch, self.mesh)
        answered = jax.device_get(self.answer_fn(variables, batch))
        pieces.append([x[: len(rows)] for x in answered])
    head_N, label_N = map(np.concatenate, zip(*pieces, strict=True))
    return Answered(part, head_N, label_N)

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

  def _name(self, split: str) -> str:
    layout = self.config.vqa.layout
    return layout if split == _TEST else f"{layout}_{split}"

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


def keep_best(
  folder: pathlib.Path, variables: Any, *, step: int, share: float
) -> None:
  """Write best.safetensors whole or not at all."""
  arrays = {
    f"{_VARIABLES}{path}": np.ascontiguousarray(x)
    for path, x in sections.flat(jax.device_get(variables), "/").items()
  }
  arrays |= {_STEP: np.array(step), _SHARE: np.array(share)}
  whole_files.write(folder / BEST, safetensors.save(arrays))


def read_best(folder: pathlib.Path, like: Any) -> tuple[int, float, Any] | None:
  """Return step, share and variables, sharded like others; None without any."""
  arrays = _read(folder)
  if arrays is None:
    return None
  leaves = {
    path: embedding.to_global(arrays[f"{_VARIABLES}{path}"], x.sharding)
    for path, x in sections.flat(like, "/").items()
  }
  step, share = int(arrays[_STEP]), float(arrays[_SHARE])
  return step, share, mapping.nested(leaves)


def _read(folder: pathlib.Path) -> dict[str, np.ndarray] | None:
  path = folder / BEST
  return safetensors.load(path.read_bytes()) if path.is_file() else None


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
