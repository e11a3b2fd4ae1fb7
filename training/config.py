"""Configuration of a run as frozen dataclasses, checked.

Config files make an ml_collections.ConfigDict (configs/base.py); all code past
this file uses dataclasses, so a misspelt field cannot be read.
"""

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import losses
from evaluators import suite_data
from evaluators.generating import generated_sets
from evaluators.sets import holdout
from input_pipeline import pipeline
from input_pipeline.detecting import detection_data
from input_pipeline.questions import question_data
from input_pipeline.storage import files
from input_pipeline.tokenizers import rules
from models import dual_encoder
from models.decoding import captioning_config, decoding_config
from models.distilling import distillation_config
from models.fusion import fusion_config
from runtime import checks, hung_processes, marks, sections
from runtime import mesh as mesh_lib
from training import (
  checkpointing,
  curating_config,
  joint_config,
  optimizer,
  schedule,
  section_checks,
  text_lengths,
)
from training import phase_config as phase_config_lib
from training.trackers import trackers as trackers_lib


@dataclasses.dataclass(frozen=True)
class Config:
  """All fields of a config file; configs/base.py explains them."""

  seed: marks.Fixed[int]
  total_steps: marks.Free[int]
  batch_size: marks.Fixed[int]
  log_every_steps: marks.Free[int]
  num_microbatches: typing.Annotated[
    int, marks.recomputes(1, 2, 4, 8, 16, cost=2)
  ]
  text_lengths: marks.Free[tuple[int, ...]]
  init_from: marks.Fixed[str]
  init_image_from: marks.Fixed[str]
  init_text_from: marks.Fixed[str]
  init_except: marks.Fixed[tuple[str, ...]]
  mesh: mesh_lib.MeshConfig
  partition_rules: marks.Fixed[tuple[tuple[str, tuple[str | None, ...]], ...]]
  data: pipeline.DataConfig
  model: dual_encoder.ModelConfig
  loss: losses.LossConfig
  optimizer: optimizer.OptimizerConfig
  checkpoint: checkpointing.CheckpointConfig
  evaluate: marks.Free[suite_data.EvaluateConfig]
  hang: hung_processes.HangConfig = hung_processes.HangConfig()
  trackers: trackers_lib.TrackersConfig = trackers_lib.TrackersConfig()
  vqa: question_data.VqaConfig = question_data.VqaConfig()
  phases: marks.Fixed[Mapping[str, phase_config_lib.PhaseConfig]] = (
    dataclasses.field(default_factory=dict, hash=False)
  )
  detection: detection_data.DetectionConfig = detection_data.DetectionConfig()
  fusion: fusion_config.FusionConfig = fusion_config.FusionConfig()
  decoding: decoding_config.DecodingConfig = decoding_config.DecodingConfig()
  distillation: distillation_config.DistillationConfig = (
    distillation_config.DistillationConfig()
  )
  num_largest_updates: marks.Fixed[int] = 1
  log_gradients_every_steps: marks.Free[int] = 0
  captioning: captioning_config.CaptioningConfig = (
    captioning_config.CaptioningConfig()
  )
  curating: curating_config.CuratingConfig = curating_config.CuratingConfig()

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    for field in (
      "total_steps",
      "batch_size",
      "log_every_steps",
      "num_microbatches",
      "num_largest_updates",
    ):
      checks.at_least(field, getattr(self, field), 1)
    for field in ("seed", "log_gradients_every_steps"):
      checks.at_least(field, getattr(self, field), 0)
    if self.init_from and (self.init_image_from or self.init_text_from):
      checks.refuse(
        "init_from is for both towers; expected init_image_from and"
        f' init_text_from to be ""; got {self.init_image_from!r} and'
        f" {self.init_text_from!r}"
      )
    for pattern in self.init_except:
      try:
        re.compile(pattern)
      except re.error as error:
        checks.refuse(
          f"init_except: {pattern!r} is no regular expression: {error}"
        )
    self.data.check()
    self.model.check()
    self.loss.check()
    self.optimizer.check(self.total_steps)
    self.checkpoint.check()
    self.evaluate.check()
    if self.checkpoint.select:
      section_checks.check_selection(
        self.checkpoint.select, self.evaluate, self._judged_sets
      )
    section_checks.check_head(self.loss, self.model.head, self.evaluate)
    self.hang.check()
    self.trackers.check()
    self.vqa.check()
    self.detection.check()
    self.fusion.check(self.data.image_size, self.batch_size)
    section_checks.check_fusion(
      self.fusion, self.data, self.model, self.text_lengths
    )
    self.decoding.check()
    self.distillation.check()
    joint_config.check(
      self.data, self.model, self.loss, self.decoding, self.distillation
    )
    self._check_generated()
    for section in self._other_tasks:
      for field in ("decoding", "distillation", "captioning"):
        if getattr(self, field).is_on:
          checks.refuse(
            f"config.{field} must have no weight with config.{section}, which"
            " trains another model; got one"
          )
      if self.log_gradients_every_steps:
        checks.refuse(
          "log_gradients_every_steps must be 0 with config."
          f"{section}, whose loss is one; got {self.log_gradients_every_steps}"
        )
      if self.curating.is_on:
        checks.refuse(
          f"curating.filter_ratio must be 0 with config.{section}, which trains"
          f" another model; got {self.curating.filter_ratio}"
        )
    for field in ("decoding", "distillation", "captioning"):
      if self.curating.is_on and getattr(self, field).is_on:
        checks.refuse(
          f"config.{field} must have no weight with curating.filter_ratio above"
          " 0, whose loss is that of pairs alone; got one"
        )
    section_checks.check_patch_counts(
      self.data.augmentation.patch_counts,
      self.num_largest_updates,
      self._other_tasks,
    )
    others = [*self._other_tasks]
    others += [x for x in ("captioning", "curating") if getattr(self, x).is_on]
    section_checks.check_train_length(self.data, self.text_lengths, others)
    self._check_weight()
    self.curating.check(self.batch_size)
    if self.curating.is_on:
      self.curating.check_beside(self.loss, self.data)
    self.captioning.check()
    if self.captioning.is_on:
      joint_config.check_captioning(self.model, self.loss, self.captioning)
      if self.decoding.is_on or self.distillation.is_on:
        checks.refuse(
          "captioning.weight must be 0 with decoding or distillation, whose"
          f" image towers pool otherwise; got {self.captioning.weight}"
        )
    # `from_mapping` refuses None.
    assert self.model.text is not None
    text_lengths.check(self.text_lengths, self.model.text)
    section_checks.check_towers(
      self.data, self.model, is_fused=bool(self.fusion.kind)
    )

  def _check_weight(self) -> None:
    """Refuse a weight of the loss of pairs that nothing reads."""
    is_joint = self.decoding.is_on or self.distillation.is_on
    if self.loss.weight != 1 and not (is_joint or self.captioning.is_on):
      checks.refuse(
        "loss.weight must be 1 without config.decoding, distillation and"
        f" captioning, beside which it is; got {self.loss.weight}"
      )
    if self.loss.has_pairs:
      return
    if self.captioning.is_on:
      checks.refuse(
        "loss.weight must be above 0 with captioning.weight, whose captioner"
        " reads the text tower; got 0"
      )
    if self.text_lengths:
      checks.refuse(
        "text_lengths must be () with loss.weight=0, which embeds no text; got"
        f" {self.text_lengths}"
      )

  def _check_generated(self) -> None:
    """Refuse sets whose answers a decoder writes, without one."""
    tasks = self.data.regions.taught if self.decoding.is_on else ()
    generated_sets.check(self.evaluate.generated_sets, tasks)

  @property
  def _other_tasks(self) -> tuple[str, ...]:
    """Sections that train another model than a dual encoder."""
    is_on = {
      "vqa": self.vqa.is_on,
      "detection": self.detection.is_on,
      "fusion": bool(self.fusion.kind),
    }
    return tuple(section for section, x in is_on.items() if x)

  @property
  def _judged_sets(self) -> list[str]:
    """Names of the sets that evaluations take figures on."""
    sets = [*self.evaluate.sets]
    if self.detection.is_on:
      sets = [self.detection.test]
    if self.fusion.kind:
      sets = [*self.data.tests]
    if self.evaluate.holdout:
      sets += [*holdout.sections(self.evaluate.holdout, [*self.data.sources])]
    return sets

  @property
  def num_rows_read(self) -> int:
    """Return the rows that a step reads, of which batch_size learn."""
    return self.curating.num_rows_read(self.batch_size)

  @checks.collected()
  def check_paths(self) -> None:
    """Raise ValueError where a source's path on this disk is not there."""
    sections = {f"data.sources.{x}": y for x, y in self.data.sources.items()}
    sections |= {f"data.tests.{x}": y for x, y in self.data.tests.items()}
    for field, source in sections.items():
      if source.format == "layout" and not source.path:
        checks.refuse(
          f"{field}.path must be the folder of the data set in"
          f" layout={source.layout!r}; got ''"
        )
    paths = {f"{field}.path": source.path for field, source in sections.items()}
    paths |= self.evaluate.paths
    for field, path in paths.items():
      with checks.collected():
        files.check_local(path, field)

  def is_excepted(self, name: str) -> bool:
    """Return whether init_except names a parameter or a tensor."""
    return any(re.fullmatch(pattern, name) for pattern in self.init_except)

  def check_text_ids(self, rule: rules.Rule) -> None:
    """Check that tower and tokenizer have the same special ids.

    The run would train without an error otherwise: pooled at the wrong token,
    or attending to padding.

    Raises:
      ValueError: an id of the text tower is not the tokenizer's.
    """
    text = self.model.text
    assert text is not None  # `from_mapping` refuses None.
    used = []
    if text.pool == "eot":
      used.append(("eot_id", text.eot_id, rule.eos_id, "ends"))
    if text.tower == "bert" or text.mask_padding:
      used.append(("pad_id", text.pad_id, rule.pad_id, "fills up"))
    for field, got, expected, does in used:
      if got != expected:
        checks.refuse(
          f"model.text.{field} must be {expected}, which {does} captions of"
          f" data.tokenizer={self.data.tokenizer!r}; got {got}"
        )


@dataclasses.dataclass(frozen=True)
class Stage:
  """A phase of a run as it is trained; a run without phases is one stage.

  Attributes:
    name: name of the phase, "" without phases.
    index: number of the phase, from 0 on.
    first_step: step of the first update of the phase.
    end: step after its last update.
    span: steps of the learning rate's schedule in force.
    first_batch: position in the data at first_step, in batches.
    config: fields in force, without phases.
  """

  name: str
  index: int
  first_step: int
  end: int
  span: schedule.Span
  first_batch: int
  config: Config

  @property
  def prefix(self) -> str:
    """Return the beginning of messages about the phase."""
    return f"phases.{self.name}: " if self.name else ""


def stages(config: Config) -> tuple[Stage, ...]:
  """Return the phases of a run in order, each with its fields in force.

  Args:
    config: its phases are accepted by phase_config.check.

  Raises:
    ValueError: a change of a phase is of the wrong type.
  """
  stretches = phase_config_lib.stretches(config.phases, config.total_steps)
  if not config.phases:
    span = schedule.Span(0, config.total_steps)
    return (Stage("", 0, 0, config.total_steps, span, 0, config),)
  begins = [
    x.first_step for x in stretches if config.phases[x.name].own_schedule
  ]
  values = to_mapping(config) | {"phases": {}}
  made: list[Stage] = []
  num_examples = 0
  for index, (name, first_step, end) in enumerate(stretches):
    values = phase_config_lib.changed(values, config.phases[name].changes)
    with checks.collected(), checks.named(f"phases.{name}: "):
      in_force = from_mapping(values)
    begin = max([x for x in begins if x <= first_step], default=0)
    after = min([x for x in begins if x > first_step], default=None)
    span_end = config.total_steps if after is None else after
    # A size below 1 is refused by `checked`.
    num_rows = max(in_force.num_rows_read, 1)
    first_batch = -(-num_examples // num_rows)
    num_batches = first_batch + end - first_step
    num_examples = num_batches * num_rows
    span = _span(config.phases, stretches, begin, span_end)
    made.append(
      Stage(name, index, first_step, end, span, first_batch, in_force)
    )
  return tuple(made)


def _span(
  phases: Mapping[str, phase_config_lib.PhaseConfig],
  stretches: list[phase_config_lib.Stretch],
  first_step: int,
  end: int,
) -> schedule.Span:
  """Return a schedule from `first_step` to before `end` of a run."""
  inside = [x for x in stretches if first_step <= x.first_step < end]
  factors = [phases[x.name].stretch for x in inside]
  # A factor below 0 is refused by `checked`.
  if all(x == 1 for x in factors) or min(factors) <= 0:
    return schedule.Span(first_step, end - first_step)
  lengths = [
    (x.end - x.first_step) / factor
    for x, factor in zip(inside, factors, strict=True)
  ]
  pieces = (
    schedule.Piece(x.first_step, factor)
    for x, factor in zip(inside, factors, strict=True)
  )
  return schedule.Span(first_step, round(sum(lengths)), tuple(pieces))


def stage_of_checkpoint(config: Config, step: int) -> Stage:
  """Return the stage whose shapes the checkpoint of a step has.

  That is the stage of the update before; at step 0, the first one.
  """
  return next(x for x in stages(config) if step <= x.end)


def evaluated(config: Config, stage: Stage) -> Config:
  """Return the fields in force in a phase, with which it is evaluated.

  Sources and languages are those of the config without phases: figures are of
  the same examples in all phases.
  """
  data = dataclasses.replace(
    stage.config.data,
    sources=config.data.sources,
    languages=config.data.languages,
    leave_out=config.data.leave_out,
  )
  return dataclasses.replace(stage.config, data=data)


def checked(
  values: Mapping[str, Any], *others: Callable[[Config], None]
) -> Config:
  """Return `from_mapping`, its values and those of each phase checked too.

  Args:
    values: fields of a config.
    others: further checks, whose problems are named with those of the values.
      They check the fields in force in each phase too.

  Raises:
    ValueError: fields or values that cannot be used; the message names all.
  """
  with checks.collected():
    config = from_mapping(values)
    config.check()
    # Checks of a run with phases follow below, once its phases are accepted.
    for other in () if config.phases else others:
      with checks.collected():
        other(config)
  if config.phases:
    phase_config_lib.check(
      config.phases, config.total_steps, to_mapping(config)
    )
    _check_in_force(config, others)
  return config


def _check_in_force(
  config: Config, others: tuple[Callable[[Config], None], ...]
) -> None:
  """Raise ValueError where the fields in force in a phase cannot be used."""
  made = stages(config)
  sizes = {stage.config.data.image_size for stage in made}
  with checks.collected():
    if config.vqa.is_on:
      checks.refuse(
        f"phases must be {{}} for --task=vqa; got {', '.join(config.phases)}"
      )
    if config.checkpoint.select and len(sizes) > 1:
      checks.refuse(
        'checkpoint.select must be "" with phases that change data.image_size,'
        " as it compares figures of one size; got"
        f" {config.checkpoint.select!r}"
      )
    for stage in made:
      with checks.named(stage.prefix), checks.collected():
        dataclasses.replace(
          stage.config, total_steps=stage.span.num_steps
        ).check()
        for other in others:
          with checks.collected():
            other(stage.config)
  with checks.collected():
    for other in others:
      with checks.collected():
        other(config)


def from_mapping(values: Mapping[str, Any]) -> Config:
  """Return the configuration of a ConfigDict's or a JSON file's content.

  Raises:
    ValueError: a missing or unknown field, or one of the wrong type.
  """
  return sections.make(Config, values, see="configs/base.py")


def to_mapping(config: Config) -> dict[str, Any]:
  """Return the fields as nested dicts, ready for JSON."""
  return dataclasses.asdict(config)


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
  """Return {"model.image.depth": (old value, new value), ...}."""
  old_fields, new_fields = flat(old), flat(new)
  return {
    name: (old_fields.get(name), new_fields.get(name))
    # A source that only one of them has is a difference too.
    for name in {**old_fields, **new_fields}
    if old_fields.get(name) != new_fields.get(name)
  }


def flat(config: Config) -> dict[str, Any]:
  """Return {"model.image.depth": value, ...}."""
  return sections.flat(to_mapping(config))
