"""Evaluation of a run's state during and after training."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from evaluators import embedding, suite, suite_data, summary
from evaluators.generating import captioner as captioner_lib
from evaluators.generating import decoders, generated_sets
from input_pipeline import evaluation_split, model_inputs
from models import batch_norm, dual_encoder
from models.video import embedding as video_embedding
from runtime import cluster
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import (
  evaluation_sample,
  metrics,
  optimizer,
  validation_loss,
)
from training.objectives import joint


@dataclasses.dataclass
class Kept:
  """Arrays of earlier evaluations of a run that are the same in later ones.

  Attributes:
    images: embedded images by source and number of examples, of an image tower
      that does not train.
    texts: row of ztxt of each text, of a text tower that does not train.
    ztxt: embeddings of these texts.
    tokens: texts that were tokenised last, and their ids.
    sample: data that all evaluations but the last take; None: undecided.
  """

  images: dict[tuple[suite_data.Source, int], embedding.Examples] = (
    dataclasses.field(default_factory=dict)
  )
  texts: dict[str, int] = dataclasses.field(default_factory=dict)
  ztxt: list[np.ndarray] = dataclasses.field(default_factory=list)
  tokens: tuple[list[str], np.ndarray] | None = None
  sample: suite_data.Data | None = None


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Held-out data of a run, and the functions that embed it.

  Attributes:
    config: config of the run.
    folder: folder of the run.
    data: opened sets.
    embedder: functions of the model.
    losses: losses of retrieval sets by name (validation_loss.py), None where
      config.evaluate.loss is False.
    writer: decoder without parameters, for sets whose answers it writes; None
      where there is no such set.
    kept: arrays that later evaluations need not make again.
  """

  config: config_lib.Config
  folder: pathlib.Path
  data: suite_data.Data
  embedder: embedding.Embedder
  losses: (
    Callable[[suite_data.Data, suite.Embeddings, Any], dict[str, float]] | None
  ) = None
  writer: captioner_lib.Captioner | None = None
  kept: Kept = dataclasses.field(default_factory=Kept)

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return the figures of an evaluation, by name.

    Args:
      variables: parameters and running statistics.
      step_seconds: measured time of a training step, 0 where there was none.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    if (data := self._sample()) is None:
      if not cluster.on_first(lambda: bool(step_seconds)):
        metrics.say(
          "No evaluation at this step: without a training step before it,"
          " evaluate.max_fraction does not say on how many examples"
        )
        return {}
      data = self._decide(variables, step_seconds)
    return self._named(data, self._run(data, variables))

  def final(
    self, variables: Any
  ) -> tuple[suite.Results, Any, dict[str, float]]:
    """Return the last evaluation's results, pictures, and figures by name.

    The figures are those of all examples and, where other evaluations took a
    sample, those of the sample too.
    """
    mesh = self.embedder.mesh
    data = self._headed(self.data, variables)
    with jax.set_mesh(mesh):
      embeddings = suite.embed_by(
        data, self._images_fn(variables), self._texts_fn(variables)
      )
      results = self._score(data, embeddings, variables)
      scalars = suite.scalars(results)
      sample = self._sample()
      if sample is not None and sample.is_sample:
        sample = self._headed(sample, variables)
        part = suite.of_sample(sample, embeddings)
        scored = self._score(sample, part, variables)
        scalars |= self._named(sample, scored)
      return results, suite.gallery(data, embeddings, mesh), scalars

  def _sample(self) -> suite_data.Data | None:
    """Return the data of all evaluations but the last, None if undecided."""
    config, kept = self.config.evaluate, self.kept
    if kept.sample is None and config.max_fraction == 1:
      kept.sample = self.data
    if kept.sample is None:
      decided = evaluation_sample.read(self.folder, config)
      kept.sample = None if decided is None else self._of(decided)
    return kept.sample

  def _decide(self, variables: Any, step_seconds: float) -> suite_data.Data:
    """Return the data of all evaluations but the last, by measured times."""
    cost = evaluation_sample.measure(
      self.data,
      lambda data, images_fn: self._run(data, variables, images_fn),
      self._images_fn(variables),
    )
    decided = evaluation_sample.decide(
      self.folder,
      lambda: evaluation_sample.choose(
        cost, config=self.config.evaluate, step_seconds=step_seconds
      ),
    )
    self.kept.sample = self._of(decided)
    return self.kept.sample

  def _of(self, decided: evaluation_sample.Sample) -> suite_data.Data:
    if decided.num_examples is None:
      # Time of what a decoder writes was not measured.
      return dataclasses.replace(self.data, generated={})
    return self.data.sample(decided.num_examples)

  def _run(
    self,
    data: suite_data.Data,
    variables: Any,
    images_fn: suite.EmbedSplit | None = None,
  ) -> suite.Results:
    """Evaluate, with another function that embeds images if there is one."""
    data = self._headed(data, variables)
    embeddings = suite.embed_by(
      data, images_fn or self._images_fn(variables), self._texts_fn(variables)
    )
    return self._score(data, embeddings, variables)

  def _headed(self, data: suite_data.Data, variables: Any) -> suite_data.Data:
    return data.with_head(self.config.model.head.classes, variables)

  def _score(
    self, data: suite_data.Data, embeddings: suite.Embeddings, variables: Any
  ) -> suite.Results:
    """Return the results of suite.score, losses and what a decoder writes."""
    results = suite.score(data, embeddings, self.embedder.mesh)
    if self.losses is not None:
      for name, value in self.losses(data, embeddings, variables).items():
        results[name][validation_loss.NAME] = value
    if data.generated:
      assert self.writer is not None  # `make` made it
      towers = {k: x for k, x in variables.items() if k != joint.DECODER}
      results |= generated_sets.results(
        data.generated,
        self.writer.of_params(towers, variables[joint.DECODER]),
        self.embedder.should_stop,
      )
      results.setdefault(summary.INPUTS, data.inputs.facts())
    return results

  def _named(
    self, data: suite_data.Data, results: suite.Results
  ) -> dict[str, float]:
    """Return figures by name; those of a sample have names of their own.

    A gallery of fewer images is easier: such figures are no part of the series
    that the last evaluation ends. Sets that the sample has whole are the same
    in both.
    """
    figures, sizes = {}, {}
    for name, source in data.sources.items():
      if len(data.splits[source]) < len(self.data.splits[source]):
        is_zero_shot = name in self.config.evaluate.zero_shot_sets
        path = f"{summary.ZERO_SHOT}/{name}" if is_zero_shot else name
        sizes[path] = len(data.splits[source])
        figures[f"{path}.sample/num_examples"] = float(sizes[path])
    for name, value in suite.scalars(results).items():
      path = next((x for x in sizes if name.startswith(f"{x}/")), None)
      if path is not None:
        name = f"{path}.sample{name.removeprefix(path)}"
      figures[name] = value
    return figures

  def _images_fn(self, variables: Any) -> suite.EmbedSplit:
    """Return a function that embeds images, or has them of before."""
    is_locked = _is_locked(self.config, variables, "img")

    def embed(
      source: suite_data.Source, split: evaluation_split.Split
    ) -> embedding.Examples:
      video = suite_data.tower_of(source)
      if not is_locked:
        return self.embedder.split(variables, split, video=video)
      # Samples of one number are the same.
      key = source, len(split)
      if key not in self.kept.images:
        self.kept.images[key] = self.embedder.split(
          variables, split, video=video
        )
      return self.kept.images[key]

    return embed

  def _texts_fn(self, variables: Any) -> Callable[[Sequence[str]], np.ndarray]:
    """Return a function that embeds texts, or has them of before."""
    kept = self.kept

    def embed(texts: Sequence[str]) -> np.ndarray:
      if kept.tokens is None or kept.tokens[0] != [*texts]:
        kept.tokens = [*texts], self.data.inputs.tokenizer([*texts])
      return self.embedder.texts(variables, kept.tokens[1])

    def embed_new(texts: Sequence[str]) -> np.ndarray:
      new = [text for text in texts if text not in kept.texts]
      if new:
        rows = range(len(kept.texts), len(kept.texts) + len(new))
        kept.ztxt = [np.concatenate([*kept.ztxt, embed(new)])]
        kept.texts |= dict(zip(new, rows, strict=True))
      return kept.ztxt[0][[kept.texts[text] for text in texts]]

    is_locked = _is_locked(self.config, variables, "txt")
    return embed_new if is_locked else embed


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  should_stop: Callable[[], bool],
  inputs: model_inputs.ModelInputs,
  *,
  folder: pathlib.Path,
  data: suite_data.Data | None = None,
) -> Evaluator:
  """Open the sources of the evaluation sets; every process calls this.

  Args:
    config: config of the run, or its fields in force in a phase.
    mesh: mesh of the run.
    should_stop: whether the run is asked to end.
    inputs: image protocol and tokenizer.
    folder: folder of the run.
    data: sets that are open already, with these inputs; None opens them.
  """
  config.evaluate.check_videos(config.model, inputs.image_protocol)
  if data is None:
    data = cluster.first_then_all(
      lambda: suite_data.load_data(
        config.evaluate, config.data, inputs, config.model.dtype
      )
    )
  embedder = embedding.make_embedder(
    *dual_encoder.embed_fns(config.model, mesh_lib.BATCH_AXES),
    mesh,
    config.evaluate.batch_size,
    should_stop,
    functools.partial(
      video_embedding.embed_fn, config.model, batch_axes=mesh_lib.BATCH_AXES
    ),
  )
  losses = None
  if config.evaluate.loss:
    losses = validation_loss.make(config, mesh)
  writer = _make_writer(config, mesh, inputs)
  return Evaluator(config, folder, data, embedder, losses, writer)


def _make_writer(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  inputs: model_inputs.ModelInputs,
) -> captioner_lib.Captioner | None:
  """Return a decoder without parameters; None where no set asks for it."""
  if not config.evaluate.generated_sets:
    return None
  regions = config.data.regions
  return captioner_lib.Captioner(
    decoders.TrainedTowers(
      config.model,
      None,
      mesh,
      lambda: inputs.image_protocol,
      lambda: inputs.tokenizer,
    ),
    decoders.Decoder(
      config=config.decoding.decoder,
      graph=joint.decoder_graph(config),
      params=None,
      vocabulary=regions.vocabulary(config.data.vocab_size),
      num_tokens=regions.num_tokens,
      tasks=regions.taught,
    ),
    config.evaluate.batch_size,
  )


def _is_locked(
  config: config_lib.Config, variables: dict[str, Any], side: str
) -> bool:
  """Return whether no array of a side, "img" or "txt", ever changes.

  An embedding of a side depends on nothing else: a trained projection after a
  locked trunk is part of its side.
  """
  fixed = optimizer.frozen_params(config.optimizer, variables)
  if side not in fixed or not all(jax.tree.leaves(fixed[side])):
    return False
  _, stats = batch_norm.split(variables)
  changes = jax.tree.leaves(stats.get(side, {}))
  return not changes or optimizer.locks_statistics(config.optimizer, variables)
