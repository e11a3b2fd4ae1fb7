"""Run that trains the autoencoder alone, on images without questions.

Images are those of data.sources, read, augmented and resumed as a dual
encoder's: each has a caption, which is not used. Figures are those of the
images that evaluate.holdout keeps out of training. One process.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from evaluators import embedding, suite
from evaluators.metrics import denoising as figures
from evaluators.sets import holdout
from input_pipeline import evaluation_split, loader, model_inputs, pipeline
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.images import image_protocols
from input_pipeline.questions import question_data
from runtime import checks
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import denoising
from training.run import opened_run, run_inputs, workdir
from training.task_runs import ending, task_run

# Key of the noise in evaluations, the same for every step and run.
_NOISE_SEED = 0


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`."""
  del folder
  trains = f'vqa.trains="{question_data.AUTOENCODER}"'
  with checks.collected():
    config.trackers.check_installed()
    config.check_paths()
    for field in ("init_from", "init_image_from", "init_text_from"):
      if path := getattr(config, field):
        checks.refuse(
          f'{field} must be "" with {trains}, which has no towers; got {path!r}'
        )
    size, expected = config.data.image_size, config.vqa.model.autoencoder_size
    if size != expected:
      checks.refuse(
        f"data.image_size must equal vqa.model.autoencoder_size={expected} with"
        f" {trains}; got {size}"
      )
    if config.data.augmentation.is_naflex:
      checks.refuse(
        "data.augmentation.resize must make square images with"
        f" {trains}; got 'naflex'"
      )
    if config.data.video.is_on:
      checks.refuse(
        f"data.video.clips must be 0 with {trains}, which reads images; got"
        f" {config.data.video.clips}"
      )
    if config.text_lengths:
      checks.refuse(
        f"text_lengths must be () with {trains}, which reads no text; got"
        f" {config.text_lengths}"
      )
    if not config.evaluate.holdout:
      checks.refuse(
        f"evaluate.holdout must be above 0 with {trains}, whose figures are"
        " those of held-out images; got 0.0"
      )
    ending.check_batches(config)


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last step, take the figures of held-out images; resume.

  Arguments and result are those of task_run.run.
  """
  read = task_run.without_scale
  return task_run.run(config, folder, read, _make, as_json=as_json)


def _make(
  config: config_lib.Config,
  read: None,
  run: opened_run.Opened,
  watchdog: watchdog_lib.Watchdog,
) -> task_run.Parts:
  del read
  folder = run.folder
  protocol = run_inputs.find_protocol(folder, config)
  assert isinstance(protocol, image_protocols.Protocol)  # `check` did
  data = _without_texts(config.data)
  objective = denoising.make(config)
  evaluator = _make_evaluator(
    config, data, objective.embed_locked, protocol, run
  )

  def begin() -> None:
    workdir.write_config(folder, config)
    model_inputs.write_protocol(protocol, folder)

  return task_run.Parts(
    objective,
    loader.make_loader(
      data,
      folder=folder,
      batch_size=config.batch_size,
      seed=config.seed,
      clocks=watchdog.clocks,
      share=config.evaluate.holdout,
    ),
    evaluator,
    {},
    about={"trains": f"autoencoder, noise {config.vqa.noise_sigma}"},
    begin=begin,
  )


def _without_texts(data: pipeline.DataConfig) -> pipeline.DataConfig:
  """Return the data with captions of any length, and no vocabulary."""
  return dataclasses.replace(
    data,
    tokenizer="bytes",
    tokenizer_path="",
    cut_captions=True,
    max_caption_chars=sys.maxsize,
  )


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Held-out images of a run, and the function that frees them of noise.

  Attributes:
    errors_fn: (variables, images, row of each) -> denoising.Errors.
    should_stop: whether the run is to end; asked before each batch.
  """

  config: config_lib.Config
  split: evaluation_split.Split
  protocol: model_inputs.Protocol
  mesh: jax.sharding.Mesh
  errors_fn: Callable[[Any, jax.Array, jax.Array], denoising.Errors]
  should_stop: Callable[[], bool]

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return figures of the held-out images, as the loop writes them.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    del step_seconds  # each evaluation takes all images
    record = self._record(variables)
    return {f"{holdout.NAME}/{name}": record[name] for name in ("psnr", "gain")}

  def final(
    self, variables: Any, selected: Mapping[str, Any] | None
  ) -> suite.Results:
    """Return the results of the run, with facts about the selected step."""
    record = self._record(variables)
    protocol = {
      "noise_sigma": self.config.vqa.noise_sigma,
      "num_examples": record["num_images"],
      "image_protocol": model_inputs.protocol_facts(self.protocol),
      "dtype": "float32",
      "data_digest": self.split.fingerprint(),
    }
    if selected is not None:
      protocol["selected"] = dict(selected)
    return {holdout.NAME: record | {"protocol": protocol}}

  def _record(self, variables: Any) -> dict[str, Any]:
    size = self.config.evaluate.batch_size
    pieces = []
    with jax.set_mesh(self.mesh):
      for batch in self.split.batches(size):
        if self.should_stop():
          raise embedding.Interrupted
        if not (num_rows := len(batch.rows)):
          continue
        # The last batch repeats its last row: one shape compiles once.
        wanted = np.minimum(np.arange(size), num_rows - 1)
        assert isinstance(batch.images, np.ndarray)
        arrays = batch.images[wanted], np.array(batch.rows, np.int32)[wanted]
        found = self.errors_fn(
          variables, *mesh_lib.make_global(arrays, self.mesh)
        )
        found = jax.device_get(found)
        pieces.append((found.rebuilt_b[:num_rows], found.noisy_b[:num_rows]))
    if not pieces:
      raise ValueError(f"{self.split.field}: none of its images can be used")
    return figures.record(*map(np.concatenate, zip(*pieces, strict=True)))


def _make_evaluator(
  config: config_lib.Config,
  data: pipeline.DataConfig,
  errors: Callable[[Any, Mapping[str, Any], denoising.Batch], denoising.Errors],
  protocol: image_protocols.Protocol,
  run: opened_run.Opened,
) -> Evaluator:
  """Return the evaluator; compiles nothing yet.

  Raises:
    ValueError: no image is held out.
  """
  share = config.evaluate.holdout
  split = evaluation_split.joined(
    [
      evaluation_split.open_held_out(data, name, share=share, protocol=protocol)
      for name in sorted(data.sources)
    ]
  )
  if not len(split):
    raise ValueError(
      f"evaluate.holdout={share} must leave images for the figures; got none"
    )

  def errors_fn(variables, images, rows):
    key = jax.random.key(_NOISE_SEED)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(rows)
    return errors(variables, {}, denoising.Batch(images, keys))

  return Evaluator(
    config,
    split,
    protocol,
    run.mesh,
    jax.jit(errors_fn, out_shardings=mesh_lib.replicated(run.mesh)),
    run.stop.requested,
  )
