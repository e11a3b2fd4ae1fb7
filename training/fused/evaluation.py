"""Figures of a fused model on the splits of data.tests.

A retrieval split has R@k of all pairs, a split of questions the accuracy of
answers or choices by type, a split of captions in pre-training the loss of
masked words and the accuracy of matching.

Shape letters beside those of models/layers.py: N rows of a split, Q texts of a
row, A outputs.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from evaluators import embedding, pair_scores, suite
from evaluators.metrics import fused_pretraining
from evaluators.metrics import questions as questions_lib
from input_pipeline import faults, model_inputs
from input_pipeline.asking import answers as answers_lib
from input_pipeline.asking import asked
from input_pipeline.fusing import evaluation as splits_lib
from input_pipeline.images import image_protocols
from models.fusion import fusion_config
from runtime import cluster
from runtime import mesh as mesh_lib
from runtime.storage import whole_files
from training import config as config_lib
from training.objectives import clipbert, fused
from training.objectives import objective as objective_lib

# File of a split's answers, or of the videos that its texts found, a line each.
ANSWERS = "answers_{}.jsonl"
_NUM_LISTED = 5  # videos that a text found
# Key of the draws of pre-training's evaluations, the same for every step.
_SEED = 0
Fn = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Splits of a run, and the compiled functions that judge its model.

  Attributes:
    splits: opened splits by name.
    answers: vocabulary of answers.
    answer_fn: (variables, batch) -> logits; see fused.answer_fn.
    pair_fns: functions of clipbert.pair_fns.
    pretraining_fn: (variables, batch with keys) -> (loss and number of masked
      words, whether the matching is right), each [B].
    should_stop: whether the run is to end; asked before each batch.
  """

  config: config_lib.Config
  folder: pathlib.Path
  mesh: jax.sharding.Mesh
  inputs: model_inputs.ModelInputs
  splits: Mapping[str, splits_lib.Split]
  answers: answers_lib.Answers
  answer_fn: Fn
  pair_fns: tuple[Fn, Fn] | None
  pretraining_fn: Fn
  should_stop: Callable[[], bool]

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return figures of all splits, as the loop writes them.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    del step_seconds  # each evaluation takes whole splits
    return suite.scalars(
      {name: self._judged(variables, name)[0] for name in self.splits}
    )

  def final(
    self, variables: Any, selected: Mapping[str, Any] | None
  ) -> suite.Results:
    """Return the results of the run; write a file of answers for each split."""
    results: suite.Results = {}
    for name, split in self.splits.items():
      record, lines = self._judged(variables, name)
      protocol = self._protocol(split) | record.get("protocol", {})
      if selected is not None:
        protocol["selected"] = dict(selected)
      results[name] = record | {"protocol": protocol}
      if lines and cluster.is_first():
        text = "".join(
          json.dumps(line, ensure_ascii=False) + "\n" for line in lines
        )
        whole_files.write(self.folder / ANSWERS.format(name), text.encode())
    return results

  def _judged(
    self, variables: Any, name: str
  ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the record of a split, and a line for each question or text."""
    split = self.splits[name]
    with jax.set_mesh(self.mesh):
      if split.kind != splits_lib.RETRIEVAL:
        return self._questions(variables, split)
      if self.config.fusion.task == fusion_config.PRETRAINING:
        return self._pretraining(variables, name), []
      return self._retrieval(variables, name)

  def _protocol(self, split: splits_lib.Split) -> dict[str, Any]:
    video, fusion = split.decoder.video, self.config.fusion
    clips = {"images": 1}
    if video.is_on:
      clips = {"clips": video.clips, "frames": video.frames, "fps": video.fps}
      clips |= {"start": video.start, "aggregate": fusion.aggregate}
    return {
      "model": fusion.kind,
      "task": fusion.task,
      **clips,
      **self.inputs.facts(),
      "dtype": self.config.model.dtype,
      "data_digest": split.fingerprint(),
    }

  def _global(self, batch: Any) -> Any:
    """Return arrays [B, ...] of a batch that all processes have, placed."""
    rows = mesh_lib.local_rows(self.config.evaluate.batch_size, self.mesh)
    return mesh_lib.make_global(
      jax.tree.map(lambda x: np.asarray(x)[rows], batch), self.mesh
    )

  def _stop_if_asked(self) -> None:
    if self.should_stop():
      raise embedding.Interrupted

  @functools.cached_property
  def _videos(self) -> dict[str, splits_lib.Videos]:
    """Videos and texts of the retrieval splits, read once."""
    return {
      name: splits_lib.Videos(split)
      for name, split in self.splits.items()
      if split.kind == splits_lib.RETRIEVAL
    }

  def _images(
    self, videos: splits_lib.Videos, indices: np.ndarray
  ) -> jax.Array:
    """Return videos on the devices; a process decodes those of its own."""
    self._stop_if_asked()
    rows = mesh_lib.local_rows(len(indices), self.mesh)
    return mesh_lib.make_global(videos.images(indices[rows]), self.mesh)

  def _retrieval(
    self, variables: Any, name: str
  ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    assert self.pair_fns is not None  # `make` made them for this task
    encode, score = self.pair_fns
    videos = self._videos[name]
    videos.broken.clear()
    whole = mesh_lib.replicated(self.mesh)
    size = self.config.evaluate.batch_size
    num_clips = self.splits[name].decoder.shape[0]
    text_block = max(1, self.config.fusion.pair_block // (size * num_clips))
    score_NM = pair_scores.score_all(
      functools.partial(self._images, videos),
      lambda images: encode(variables, images),
      lambda cells, tokens_tL: jax.device_get(
        score(variables, cells, embedding.to_global(tokens_tL, whole))
      ),
      num_videos=len(videos),
      tokens_ML=np.asarray(self.inputs.tokenizer(list(videos.texts))),
      video_block=size,
      text_block=min(text_block, len(videos.texts)),
    )
    kept = np.array(
      [i for i in range(len(videos)) if i not in _all_broken(videos)], int
    )
    if not len(kept):
      raise ValueError(
        f"data.tests.{name}: none of {len(videos)} examples can be decoded"
      )
    is_kept_M = np.isin(videos.owners, kept)
    texts = [videos.texts[m] for m in np.flatnonzero(is_kept_M)]
    owners = np.searchsorted(kept, videos.owners[is_kept_M])
    score_NM = score_NM[np.ix_(kept, is_kept_M)]
    judged = pair_scores.judge(score_NM, owners.tolist(), texts)
    num_left_out = len(videos.left_out) + len(videos) - len(kept)
    record = pair_scores.record(judged, {"num_examples": len(kept)})
    keys = [videos.keys[i] for i in kept]
    return record | {"num_left_out": num_left_out}, _found(
      score_NM, owners, texts, keys
    )

  def _questions(
    self, variables: Any, split: splits_lib.Split
  ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    left_out: list[faults.ExampleError] = []
    size = self.config.evaluate.batch_size
    values, expected, lines, groups = [], [], [], []
    for batch in splits_lib.question_batches(split, size, left_out):
      self._stop_if_asked()
      tokens, num_texts = self._tokens(split, batch.questions)
      arrays = {"images": batch.images, "tokens": tokens}
      logits_BA = jax.device_get(
        self.answer_fn(variables, self._global(fused.batch_of(arrays)))
      )
      if self.config.fusion.task == fusion_config.RETRIEVAL:
        logits_BA = pair_scores.log_odds(logits_BA)
      for row, (key, question) in enumerate(
        zip(batch.keys, batch.questions, strict=True)
      ):
        line, value, chance = self._answered(
          question, logits_BA[row][: num_texts[row] or None]
        )
        values.append(value)
        expected.append(chance)
        lines.append({"example": key} | line)
      groups += batch.groups
    if not values:
      raise ValueError(
        f"{split.field}: none of {len(split)} examples can be used; the first:"
        f" {left_out[0].kind}: {left_out[0]}"
      )
    cluster_N = np.unique(np.array(groups), return_inverse=True)[1]
    is_soft = any("answers" in line for line in lines)
    record = questions_lib.record(
      np.array(values, float),
      [line["type"] for line in lines],
      np.array(expected, float),
      figure=questions_lib.FIGURES[is_soft],
      cluster_N=None if len({*groups}) == len(groups) else cluster_N,
    )
    record |= {"num_left_out": len(left_out)}
    return record | {"protocol": {"num_examples": len(values)}}, lines

  def _tokens(
    self, split: splits_lib.Split, questions: tuple[asked.Question, ...]
  ) -> tuple[np.ndarray, list[int]]:
    """Return ids of a batch's texts, filled up, and options of each row.

    They are [B, Q, L] of questions with options, whose last ones are repeated,
    else [B, L].
    """
    size = self.config.evaluate.batch_size
    texts = [question.texts for question in questions]
    texts += [texts[-1]] * (size - len(texts))
    if split.kind != splits_lib.CHOICES:
      return np.asarray(self.inputs.tokenizer([x for (x,) in texts])), [
        0
      ] * size
    most = max(len(x) for x in texts)
    flat = [y for x in texts for y in (*x, *[x[-1]] * (most - len(x)))]
    tokens_BQL = np.asarray(self.inputs.tokenizer(flat)).reshape(size, most, -1)
    return tokens_BQL, [len(x) for x in texts]

  def _answered(
    self, question: asked.Question, logits_A: np.ndarray
  ) -> tuple[dict[str, Any], float, float]:
    """Return a line about an answer, its value, and the value of chance."""
    line = {"question": question.text, "type": question.answer_type}
    if question.options:
      chosen = int(np.argmax(logits_A))
      line |= {"answered": question.options[chosen]}
      line |= {"answer": question.options[question.right]}
      value = float(chosen == question.right)
      return line | {"value": value}, value, 1 / len(question.options)
    answered = self.answers.listed[int(np.argmax(logits_A))]
    guess = self.answers.guess(question.answer_type)
    line |= {"answered": answered}
    if question.answers:
      humans = [answers_lib.normalised(x) for x in question.answers]
      value, chance = (
        questions_lib.soft_accuracy(x, humans) for x in (answered, guess)
      )
      return line | {"answers": humans, "value": value}, value, chance
    right = answers_lib.normalised(question.answer)
    value, chance = float(answered == right), float(guess == right)
    return line | {"answer": right, "value": value}, value, chance

  def _pretraining(self, variables: Any, name: str) -> dict[str, Any]:
    videos = self._videos[name]
    videos.broken.clear()
    first_N = np.searchsorted(videos.owners, np.arange(len(videos)))
    size = self.config.evaluate.batch_size
    pieces: list[tuple[np.ndarray, ...]] = []
    for rows, filled in pair_scores.blocks(len(videos), size):
      texts = [videos.texts[m] for m in first_N[filled]]
      batch = fused.batch_of(
        {
          "images": self._images(videos, filled),
          "tokens": self._global(np.asarray(self.inputs.tokenizer(texts))),
          # Repeated rows are of one image, and no negatives of each other.
          "groups": self._global(filled.astype(np.int32)),
        }
      )
      found = jax.device_get(self.pretraining_fn(variables, batch))
      pieces.append(tuple(x[: len(rows)] for x in found))
    broken = _all_broken(videos)
    kept = np.array([i not in broken for i in range(len(videos))])
    loss_N, num_words_N, right_N, match_N = (
      np.concatenate(x)[kept] for x in zip(*pieces, strict=True)
    )
    text = self.config.model.text
    assert text is not None  # training/config.py refuses None
    record = fused_pretraining.record(
      loss_N, num_words_N, right_N, match_N, vocab_size=text.vocab_size
    )
    return record | {
      "num_left_out": len(videos.left_out) + len(broken),
      "protocol": {"num_examples": int(kept.sum())},
    }


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  objective: objective_lib.Objective,
  *,
  inputs: model_inputs.ModelInputs,
  answers: answers_lib.Answers,
  folder: pathlib.Path,
  should_stop: Callable[[], bool],
) -> Evaluator:
  """Open the splits of a run; compile nothing yet.

  Raises:
    ValueError: a split cannot be used; the message names its field.
  """
  protocol = inputs.image_protocol
  assert isinstance(protocol, image_protocols.Protocol)  # the run's check did
  fusion = config.fusion
  splits = {
    name: splits_lib.open_test(
      config.data, name, protocol=protocol, num_clips=fusion.test_clips
    )
    for name in sorted(config.data.tests)
  }
  whole = mesh_lib.replicated(mesh)
  pair_fns = None
  if fusion.task == fusion_config.RETRIEVAL:
    encode, score = clipbert.pair_fns(config)
    pair_fns = jax.jit(encode), jax.jit(score, out_shardings=whole)
  return Evaluator(
    *(config, folder, mesh, inputs, splits, answers),
    answer_fn=jax.jit(fused.answer_fn(config, objective), out_shardings=whole),
    pair_fns=pair_fns,
    pretraining_fn=jax.jit(
      fused.pretraining_fn(config, objective, _SEED), out_shardings=whole
    ),
    should_stop=should_stop,
  )


def _all_broken(videos: splits_lib.Videos) -> set[int]:
  """Return positions of videos that some process could not decode."""
  found = [*videos.broken]
  if cluster.count() == 1:
    return {*found}
  return {index for some in cluster.gather(lambda: found) for index in some}


def _found(
  score_NM: np.ndarray, owners: np.ndarray, texts: list[str], keys: list[str]
) -> list[dict[str, Any]]:
  """Return a line for each text: its video, and those with the best scores."""
  best_MK = np.argsort(-score_NM, axis=0, kind="stable")[:_NUM_LISTED].T
  return [
    {
      "text": text,
      "video": keys[owner],
      "found": [keys[i] for i in best_K],
      "log_odds": [round(float(score_NM[i, m]), 4) for i in best_K],
    }
    for m, (text, owner, best_K) in enumerate(
      zip(texts, owners, best_MK, strict=True)
    )
  ]
