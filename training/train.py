"""Run of a dual encoder: its data, step and evaluation, around a session."""

import dataclasses
import datetime
import pathlib
from typing import Any

import jax

from evaluators import suite, summary
from input_pipeline import ledger, loader, model_inputs
from input_pipeline import watchdog as watchdog_lib
from runtime import checks, cluster
from runtime import mesh as mesh_lib
from runtime import stopping as stopping_lib
from runtime.storage import strict_json
from training import config as config_lib
from training import (
  evaluation,
  gradient_norms,
  metrics,
  patch_programs,
  train_state,
  train_step,
)
from training import session as session_lib
from training.curating import teacher as teacher_lib
from training.phases import switching
from training.run import (
  opened_run,
  run_inputs,
  run_warnings,
  starting_weights,
  starts,
  workdir,
)


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`.

  Vocabulary, paths on disk, devices and rules of parameters are compared with
  the config; no data are opened, and nothing is written.
  """
  with checks.collected():
    config.trackers.check_installed()
    if config.vqa.is_on:
      checks.refuse(
        'vqa.layout must be "" and vqa.trains "answers" for a dual encoder; got'
        f" {config.vqa.layout!r} and {config.vqa.trains!r}, of --task=vqa"
      )
    if config.detection.is_on:
      checks.refuse(
        'detection.layout must be "" for a dual encoder; got'
        f" {config.detection.layout!r}, of --task=detect"
      )
    if config.fusion.kind:
      checks.refuse(
        'fusion.kind must be "" for a dual encoder; got'
        f" {config.fusion.kind!r}, of --task=fuse"
      )
    with checks.collected():
      run_inputs.check_early(folder, config)
    config.check_paths()
    if not workdir.has_checkpoint(folder):
      starting_weights.check_early(config)
    mesh = mesh_lib.make_mesh(config.mesh)
    train_step.check(config, mesh)
    gradient_norms.check(config)
    if config.phases:
      with checks.collected():
        switching.check(config, mesh)


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last step, evaluate, write the report; resume if begun.

  Args:
    config: config of the run, accepted by `check`.
    folder: folder of the run, made if it is not there.
    as_json: whether results are printed as JSON instead of a table.

  Returns:
    The exit code, one of stopping.CODES where a signal ended the run early.
  """
  with opened_run.opened(config, folder) as run:
    steps, mesh = run.steps, run.mesh
    first = config_lib.stages(config)[0]
    # Read before the config is written: a failure leaves no run behind.
    initial = {} if steps else starting_weights.read(first.config, mesh)
    if cluster.on_first(lambda: workdir.is_done(folder, config, steps)):
      metrics.say(f"{folder} is complete; its last evaluation:")
      results = cluster.on_first(lambda: workdir.read_results(folder))
      return _print_results(results, as_json)
    inputs = cluster.first_then_all(
      lambda: run_inputs.find(folder, first.config, begun=bool(steps))
    )
    if not steps:
      initial = starting_weights.with_head(
        initial, first.config, mesh, inputs.tokenizer
      )
    for stage in config_lib.stages(config):
      if stage.config.curating.is_on:
        teacher_lib.check_inputs(stage.config, inputs.tokenizer)
    watchdog = run.stack.enter_context(watchdog_lib.watch(config.data))
    parts = _Parts(config, folder, run, inputs, watchdog)
    newest = steps[-1] if steps else 0
    part = parts.make(config_lib.stage_of_checkpoint(config, newest))
    cluster.on_first(lambda: workdir.begin(folder, config, inputs))
    session, state = session_lib.start(
      *(config, run, part, watchdog),
      initial=initial,
      make_part=parts.make if config.phases else None,
    )
    judged = session.train(
      state, parts.judge, parts.next if config.phases else None
    )
    if judged is None:
      return run.stop.exit_code
    results, panels, figures = judged
    if config.checkpoint.select:
      results[summary.INPUTS]["selected"] = session.selection.facts()
    else:
      session.writer.write(config.total_steps, figures)
    session.close_trackers()
  with stopping_lib.kept():  # the last checkpoint
    if cluster.is_first():
      summary.write_results(folder / workdir.RESULTS, results)
      rate = session.progress.images_per_s(config.total_steps)
      _write_report(folder, config, mesh, session.facts, rate, results, panels)
    _print_results(results, as_json)
    metrics.say(f"Report: {folder / workdir.REPORT}")
  return 0


@dataclasses.dataclass
class _Parts:
  """Maker of the parts of each phase: data, step and evaluation.

  Attributes:
    inputs: image protocol and tokenizer of the first phase.
    evaluator: evaluator of the phase that was made last.
  """

  config: config_lib.Config
  folder: pathlib.Path
  run: opened_run.Opened
  inputs: model_inputs.ModelInputs
  watchdog: watchdog_lib.Watchdog
  evaluator: evaluation.Evaluator | None = None

  def make(self, stage: config_lib.Stage) -> session_lib.Part:
    """Open the data of a phase, and make its step and its evaluator."""
    config, mesh, folder = stage.config, self.run.mesh, self.folder
    protocol = self.inputs.image_protocol
    if stage.index:
      protocol = run_inputs.fitted(protocol, config.data)
    inputs = dataclasses.replace(self.inputs, image_protocol=protocol)
    data = self.evaluator.data if self.evaluator else None
    self.evaluator = evaluation.make(
      *(config_lib.evaluated(self.config, stage), mesh),
      *(self.run.stop.requested, inputs),
      folder=folder,
      data=data if data and data.inputs.image_protocol == protocol else None,
    )
    iterator = cluster.together(
      lambda: loader.make_loader(
        config.data,
        folder=folder,
        batch_size=config.num_rows_read,
        seed=config.seed,
        rows=mesh_lib.local_rows(config.num_rows_read, mesh),
        with_labels=config.loss.needs_labels,
        classes=config.model.head.classes,
        process_index=jax.process_index(),
        tokenizer=inputs.tokenizer,
        clocks=self.watchdog.clocks,
        share=config.evaluate.holdout,
        phase=ledger.Phase(stage.name, stage.first_step, stage.first_batch),
      )
    )
    self.run.take(iterator)
    teacher = None
    if config.curating.is_on:
      begun = bool(self.run.steps)
      teacher = teacher_lib.read(config, mesh, folder, begun=begun)
    if stage.name:
      metrics.say(
        f"Phase {stage.name}: steps {stage.first_step:,} to {stage.end:,}"
      )
    return session_lib.Part(
      stage,
      train_step.make(config, mesh, span=stage.span),
      iterator,
      self.evaluator.scalars,
      run_warnings.of_run(config, iterator.num_examples),
      patch_programs.make(config, mesh, span=stage.span),
      teacher,
    )

  def next(
    self, state: train_state.TrainState, step: int
  ) -> tuple[session_lib.Part, train_state.TrainState]:
    """Return the parts of the phase that begins at a step, and its state."""
    stages = config_lib.stages(self.config)
    stage = next(x for x in stages if x.first_step == step)
    part = self.make(stage)
    model, seed = stage.config.model, self.config.seed
    return part, switching.switch(state, part.program, model, seed)

  def judge(
    self, variables: Any
  ) -> tuple[suite.Results, Any, dict[str, float]]:
    """Return the results of the last evaluation."""
    assert self.evaluator is not None  # `make` made it
    return self.evaluator.final(variables)


def _write_report(
  folder: pathlib.Path,
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  facts: dict[str, float],
  images_per_s: float,
  results: suite.Results,
  panels: Any,
) -> None:
  from training.report import report

  stages = config_lib.stages(config)
  config = stages[-1].config
  phases = "; ".join(
    f"{x.name}: {x.first_step:,} to {x.end:,}" for x in stages if x.name
  )
  report.write(
    folder,
    title=folder.name,
    facts={
      "steps": f"{config.total_steps:,}",
      **({"phases": phases} if phases else {}),
      "batch size": _batch_size(config),
      "loss": config.loss.name,
      "parameters": f"{facts['compile/num_parameters']:,}",
      "GFLOP a step": f"{facts['compile/step_gflop']:,.1f}",
      "finished": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
      "images a second": f"{images_per_s:,.0f}",
      "devices": f"{mesh.size} {jax.devices()[0].device_kind}",
      "languages": ", ".join(config.data.languages),
      **starts.facts(folder),
    },
    results=results,
    panels=panels,
  )


def _batch_size(config: config_lib.Config) -> str:
  """Return the rows of a step, and those that they are drawn from."""
  text = f"{config.batch_size:,}"
  if config.curating.is_on:
    text += f", drawn from {config.num_rows_read:,}"
  return text


def _print_results(results: suite.Results, as_json: bool) -> int:
  if cluster.is_first():
    print(strict_json.dumps(results) if as_json else summary.table(results))
  return 0
