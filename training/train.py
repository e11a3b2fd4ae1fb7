"""Training loop, with its preparation and its end.

State i is the state after i updates. Step i of the loop saves and evaluates
state i, fetches a batch, dispatches the step that makes state i + 1, and only
then waits for the metrics of the step before: the device never waits for the
host.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from evaluators import embedding, suite, summary
from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from runtime import checks, cluster, compilation_cache, hung_processes
from runtime import mesh as mesh_lib
from runtime import stopping as stopping_lib
from runtime.storage import strict_json
from training import (
  checkpointing,
  evaluation,
  metrics,
  reporter,
  train_state,
  train_step,
)
from training import config as config_lib
from training import selection as selection_lib
from training import stop as stop_lib
from training.report import report
from training.run import (
  run_inputs,
  run_warnings,
  starting_weights,
  starts,
  workdir,
)
from training.trackers import trackers as trackers_lib

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Due:
  """Decisions about one step of the loop.

  Attributes:
    save: whether the state is saved.
    evaluate: whether the state is evaluated.
    last: whether the loop ends before another update.
  """

  save: bool
  evaluate: bool
  last: bool


def due(
  step: int, config: config_lib.Config, *, first_step: int, stopping: bool
) -> Due:
  """Decide about the state of `step`.

  Args:
    step: number of updates made so far.
    config: checked config of the run.
    first_step: step that the loop began with; its state needs no saving.
    stopping: whether the run was asked to end.
  """
  is_complete = step == config.total_steps
  every = config.evaluate.every_steps
  return Due(
    save=is_complete
    or stopping
    or (step > first_step and step % config.checkpoint.every_steps == 0),
    # The state of the last step is evaluated after the loop.
    evaluate=bool(every and step and step % every == 0)
    and not (is_complete or stopping),
    last=is_complete or stopping,
  )


@dataclasses.dataclass
class Session:
  """Parts of a run that its loop uses.

  Attributes:
    step_fn: compiled training step.
    batch_of: arrays by name, as the loader yields them -> batch of `step_fn`.
    saved_step: newest step with a checkpoint, None without any.
  """

  config: config_lib.Config
  mesh: jax.sharding.Mesh
  stop: stop_lib.Stop
  checkpointer: checkpointing.Checkpointer
  watchdog: watchdog_lib.Watchdog
  hang: hung_processes.Watchdog
  iterator: loader.Loader
  writer: metrics.Writer
  progress: metrics.Progress
  reporter: reporter.Reporter
  evaluate_fn: Callable[[Any, float], dict[str, float]]
  selection: selection_lib.Selection
  step_fn: Callable[..., Any]
  batch_of: Callable[[dict[str, Any]], Any]
  saved_step: int | None

  def save(self, state: train_state.TrainState, step: int) -> None:
    """Save the state, unless it was saved before."""
    if self.saved_step == step:
      return
    with self.progress.pause(), self.hang.phase("saving"):
      self.writer.sync()
      self.iterator.sync()
      self.checkpointer.save(state, self.iterator, step)
    self.saved_step = step

  def evaluate(self, state: train_state.TrainState, step: int) -> bool:
    """Evaluate the state, write its figures; False if asked to end."""
    with self.progress.pause(), self.hang.phase("evaluating"):
      try:
        seconds = self.progress.step_seconds()
        figures = self.evaluate_fn(state.variables, seconds)
      except embedding.Interrupted:
        return False
      self.writer.write(step, figures)
      if figures:
        self.selection.offer(step, figures, state, self.iterator)
    return True

  def fetch(self, last_metrics: Any) -> Any:
    """Return the next batch on the devices.

    Args:
      last_metrics: metrics of the step under way; the watchdog takes its end
        from them.
    """
    finished = functools.partial(jax.block_until_ready, last_metrics)
    with self.hang.phase(hung_processes.READING):
      arrays = self.watchdog.next(self.iterator, finished)
    return mesh_lib.make_global(self.batch_of(arrays), self.mesh)


def loop(
  session: Session, state: train_state.TrainState, first_step: int
) -> tuple[train_state.TrainState, int]:
  """Train until the last step, or until asked to end; return state and step."""
  step, step_metrics = first_step, None
  while True:
    stopping = session.stop.requested()
    now = due(step, session.config, first_step=first_step, stopping=stopping)
    if now.save or now.evaluate:
      session.reporter.flush()  # raises for a loss that is not finite
    if now.save:  # before the evaluation: if that fails, no step is lost
      session.save(state, step)
    if now.evaluate and not session.evaluate(state, step):
      session.save(state, step)
      return state, step
    if now.last:
      return state, step
    batch = session.fetch(step_metrics)
    state, step_metrics = session.step_fn(state, batch)
    step += 1
    session.reporter.add(step, step_metrics)
    session.hang.end_step(step)


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`.

  Vocabulary, paths on disk, devices and rules of parameters are compared with
  the config; no data are opened, and nothing is written.
  """
  with checks.collected():
    config.trackers.check_installed()
    if config.vqa.is_on:
      checks.refuse(
        'vqa.layout must be "" to train a dual encoder; got'
        f" {config.vqa.layout!r}, a config of --task=vqa"
      )
    with checks.collected():
      run_inputs.check_early(folder, config)
    config.check_paths()
    if not workdir.has_checkpoint(folder):
      starting_weights.check_early(config)
    mesh = mesh_lib.make_mesh(config.mesh)
    train_step.check(config, mesh)


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
  began = time.monotonic()
  compilation_cache.enable(folder)
  stop = stop_lib.Stop()
  mesh = mesh_lib.make_mesh(config.mesh)
  with contextlib.ExitStack() as stack:
    stack.callback(stop.restore)
    workdir.claim_for_all(folder, config, stack)
    hang = hung_processes.Watchdog(
      config.hang, folder / workdir.HUNG, lambda: code_of_hang(folder)
    )
    stack.enter_context(hang.watching())
    checkpointer = checkpointing.Checkpointer(
      folder / workdir.CHECKPOINTS, keep=config.checkpoint.keep
    )
    stack.callback(checkpointer.close)
    steps = checkpointer.steps()
    stop.is_kept = bool(steps)
    # Read before the config is written: a failure leaves no run behind.
    initial = {} if steps else starting_weights.read(config, mesh)
    if cluster.on_first(lambda: workdir.is_done(folder, config, steps)):
      metrics.say(f"{folder} is complete; its last evaluation:")
      results = cluster.on_first(lambda: workdir.read_results(folder))
      return _print_results(results, as_json)
    inputs = cluster.first_then_all(
      lambda: run_inputs.find(folder, config, begun=bool(steps))
    )
    watchdog = stack.enter_context(watchdog_lib.watch(config.data))
    evaluator = evaluation.make(
      config, mesh, stop.requested, inputs, folder=folder
    )
    iterator = cluster.together(
      lambda: loader.make_loader(
        config.data,
        folder=folder,
        batch_size=config.batch_size,
        seed=config.seed,
        rows=mesh_lib.local_rows(config.batch_size, mesh),
        with_labels=config.loss.needs_labels,
        process_index=jax.process_index(),
        tokenizer=inputs.tokenizer,
        clocks=watchdog.clocks,
        share=config.evaluate.holdout,
      )
    )
    stack.enter_context(contextlib.closing(iterator))
    if steps:
      cluster.together(iterator.check_unchanged)
    for name, held_out in iterator.held_out.items():
      metrics.say(f"Held out of data.sources.{name}: {held_out}")
    cluster.on_first(lambda: workdir.begin(folder, config, inputs))
    program = train_step.make(config, mesh)
    with hang.phase("compiling"):
      state, step_fn, facts = in_thread(
        lambda: build(config, mesh, program, checkpointer, iterator, initial)
      )
    first_step = int(jax.device_get(state.step))
    if first_step:
      metrics.say(f"Resuming from the checkpoint of step {first_step}")
    record = stack.enter_context(starts.recorded(folder, first_step, began))
    writer = metrics.Writer(folder, workdir.METRICS, first_step)
    stack.enter_context(contextlib.closing(writer))
    trackers = trackers_lib.Trackers(
      config.trackers,
      folder / workdir.METRICS,
      {"config": config_lib.to_mapping(config), "record": record},
    )
    stack.callback(trackers.close)
    writer.copy_to(trackers)
    writer.write(first_step, facts)
    warnings = run_warnings.Writer(folder, first_step)
    stack.enter_context(contextlib.closing(warnings))
    warnings.add(run_warnings.of_run(config, iterator.num_examples))
    selection = selection_lib.Selection(
      folder, config.checkpoint.select, first_step
    )
    stack.callback(selection.close)
    progress = metrics.Progress(
      first_step=first_step,
      total_steps=config.total_steps,
      batch_size=config.batch_size,
    )
    session = Session(
      config=config,
      mesh=mesh,
      stop=stop,
      checkpointer=checkpointer,
      watchdog=watchdog,
      hang=hang,
      iterator=iterator,
      writer=writer,
      progress=progress,
      reporter=reporter.Reporter(
        config, writer, progress, checkpointer, iterator, watchdog, warnings
      ),
      evaluate_fn=evaluator.scalars,
      selection=selection,
      step_fn=step_fn,
      batch_of=program.batch_of,
      saved_step=first_step if first_step in steps else None,
    )
    stop.begin()
    with jax.transfer_guard("disallow"), jax.set_mesh(mesh):
      state, step = loop(session, state, first_step)
    progress.end_line()
    if iterator.summary():
      metrics.say(f"Left out of the batches: {iterator.summary()}")
    with hang.phase("saving"):
      checkpointer.wait()
    stop.is_kept = True
    if step < config.total_steps:
      metrics.say(
        f"{stop.name}: saved step {step} of {config.total_steps} in {folder};"
        " run the same command to go on"
      )
      return stop.exit_code
    try:
      # The last step is judged too before the selected one is evaluated.
      is_evaluated = not config.checkpoint.select or session.evaluate(
        state, step
      )
      if not is_evaluated:
        raise embedding.Interrupted
      with hang.phase("evaluating"):
        results, panels, figures = evaluator.final(
          selection.restore(state.variables, step)
        )
    except embedding.Interrupted:
      metrics.say(
        f"{stop.name}: stopped in the last evaluation; run the same command to"
        " do it again"
      )
      return stop.exit_code
    if config.checkpoint.select:
      results[summary.INPUTS]["selected"] = selection.facts()
    else:
      writer.write(config.total_steps, figures)
    trackers.close(is_finished=True, should_stop=lambda: stop.was_asked)
  with stopping_lib.kept():  # the last checkpoint
    if cluster.is_first():
      summary.write_results(folder / workdir.RESULTS, results)
      rate = progress.images_per_s(step)
      _write_report(folder, config, mesh, facts, rate, results, panels)
    _print_results(results, as_json)
    metrics.say(f"Report: {folder / workdir.REPORT}")
  return 0


def build(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  program: train_step.StepProgram,
  checkpointer: checkpointing.Checkpointer,
  iterator: loader.Loader,
  initial: Any,
) -> tuple[train_state.TrainState, Callable[..., Any], dict[str, float]]:
  """Restore or make the state, and compile the step; return its facts too."""
  with jax.set_mesh(mesh):
    state = checkpointer.restore(program.state, iterator)
    if state is None:
      state = train_state.init(
        program.init_params,
        program.optimizer,
        program.state,
        config.seed,
        initial,
      )
    return state, *train_step.compile_with_facts(program, mesh)


def code_of_hang(folder: pathlib.Path) -> int:
  """Return the exit code of a run that hangs: 75 if it has a checkpoint."""
  return stopping_lib.REQUEUE if workdir.has_checkpoint(folder) else 1


def _write_report(
  folder: pathlib.Path,
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  facts: dict[str, float],
  images_per_s: float,
  results: suite.Results,
  panels: Any,
) -> None:
  report.write(
    folder,
    title=folder.name,
    facts={
      "steps": f"{config.total_steps:,}",
      "batch size": f"{config.batch_size:,}",
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


def _print_results(results: suite.Results, as_json: bool) -> int:
  if cluster.is_first():
    print(strict_json.dumps(results) if as_json else summary.table(results))
  return 0


def in_thread(fn: Callable[[], T]) -> T:
  """Run fn in a thread, so that a signal is handled while it compiles."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(fn).result()
