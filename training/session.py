"""Session of a training run: what it opens, its loop, and its end.

State i is the state after i updates. Step i of the loop saves and evaluates
state i, fetches a batch, dispatches the step that makes state i + 1, and only
then waits for the metrics of the step before: the device never waits for the
host.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from evaluators import embedding
from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.regions import region_rows
from runtime import hung_processes
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import (
  gradient_norms,
  metrics,
  patch_programs,
  reporter,
  train_state,
  train_step,
)
from training import selection as selection_lib
from training.run import opened_run, run_warnings, starts, workdir
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
  step: int,
  config: config_lib.Config,
  *,
  first_step: int,
  stopping: bool,
  begin: int = 0,
  end: int | None = None,
) -> Due:
  """Decide about the state of `step`.

  Args:
    step: number of updates made so far.
    config: checked config of the run.
    first_step: step that the loop began with; its state needs no saving.
    stopping: whether the run was asked to end.
    begin: step at which the phase begins, whose state the phase before has
      evaluated.
    end: step at which the phase ends; None for the run's last step.
  """
  is_complete = step == config.total_steps
  is_end = is_complete or step == end
  every = config.evaluate.every_steps
  return Due(
    save=is_end
    or stopping
    or (step > first_step and step % config.checkpoint.every_steps == 0),
    # The state of the last step is evaluated after the loop.
    evaluate=bool(every and step > begin and step % every == 0)
    and not (is_complete or stopping),
    last=is_end or stopping,
  )


@dataclasses.dataclass(frozen=True)
class Part:
  """Parts of a run that belong to one phase.

  Attributes:
    stage: phase, with its fields in force.
    program: step to compile.
    iterator: loader of batches, at the phase's first batch.
    evaluate_fn: variables and seconds a step -> figures by name.
    warned: warnings that follow from the config and the data.
    by_count: number of patches of a batch -> step of such batches, whose state
      is that of `program` (training/patch_programs.py); {} for one shape.
    teacher: arrays as `program.teacher`; None without curating.
  """

  stage: config_lib.Stage
  program: train_step.StepProgram
  iterator: loader.Loader
  evaluate_fn: Callable[[Any, float], dict[str, float]]
  warned: Mapping[str, str]
  by_count: Mapping[int, train_step.StepProgram] = dataclasses.field(
    default_factory=dict
  )
  teacher: Any = None


# (last state of a phase, its step) -> parts and first state of the next phase.
NextPart = Callable[
  [train_state.TrainState, int], tuple[Part, train_state.TrainState]
]


@dataclasses.dataclass
class Session:
  """Parts of a run that its loop uses; those of a phase change with it.

  Attributes:
    stage: phase that is trained.
    facts: figures of the compiled step, by name.
    step_fn: compiled training step; None at the end of a phase.
    norms_fn: norms of the gradients of single losses; None where they are not
      taken.
    batch_of: arrays by name, as the loader yields them -> batch of `step_fn`.
    saved_step: newest step with a checkpoint, None without any.
  """

  config: config_lib.Config
  stage: config_lib.Stage
  opened: opened_run.Opened
  watchdog: watchdog_lib.Watchdog
  warnings: run_warnings.Writer
  iterator: loader.Loader
  writer: metrics.Writer
  trackers: trackers_lib.Trackers
  progress: metrics.Progress
  reporter: reporter.Reporter
  evaluate_fn: Callable[[Any, float], dict[str, float]]
  selection: selection_lib.Selection
  facts: dict[str, float]
  step_fn: Callable[..., Any] | None
  norms_fn: gradient_norms.NormsFn | None
  batch_of: Callable[[dict[str, Any]], Any]
  saved_step: int | None

  def save(self, state: train_state.TrainState, step: int) -> None:
    """Save the state, unless it was saved before."""
    if self.saved_step == step:
      return
    with self.progress.pause(), self.opened.hang.phase("saving"):
      self.writer.sync()
      self.iterator.sync()
      self.opened.checkpointer.save(state, self.iterator, step, self.stage.name)
    self.saved_step = step

  def evaluate(self, state: train_state.TrainState, step: int) -> bool:
    """Evaluate the state, write its figures; False if asked to end."""
    with self.progress.pause(), self.opened.hang.phase("evaluating"):
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
    with self.opened.hang.phase(hung_processes.READING):
      arrays = self.watchdog.next(self.iterator, finished)
    return mesh_lib.make_global(self.batch_of(arrays), self.opened.mesh)

  def loop(
    self, state: train_state.TrainState
  ) -> tuple[train_state.TrainState, int, bool]:
    """Train until the last step of the phase, or until asked to end.

    Returns:
      The state, its step, and whether the loop was asked to end.
    """
    stop = self.opened.stop
    first_step = step = int(jax.device_get(state.step))
    step_metrics = None
    while True:
      stopping = stop.requested()
      now = due(
        step,
        self.config,
        first_step=first_step,
        stopping=stopping,
        begin=self.stage.first_step,
        end=self.stage.end,
      )
      if now.save or now.evaluate:
        self.reporter.flush()  # raises for a loss that is not finite
      if now.save:  # before the evaluation: if that fails, no step is lost
        self.save(state, step)
      if now.evaluate and not self.evaluate(state, step):
        self.save(state, step)
        return state, step, True
      if now.last:
        return state, step, stopping
      assert self.step_fn is not None  # steps of the phase are left
      batch = self.fetch(step_metrics)
      step += 1
      every, norms = self.config.log_gradients_every_steps, {}
      if self.norms_fn and step % every == 0:
        norms = self.norms_fn(state, batch)
      state, step_metrics = self.step_fn(state, batch)
      self.reporter.add(step, step_metrics | norms)
      self.opened.hang.end_step(step)

  def say_left_out(self) -> None:
    """Print the faults of the data, by source and kind."""
    if self.iterator.summary():
      metrics.say(f"Left out of the batches: {self.iterator.summary()}")
    if self.iterator.regions:
      metrics.say(f"Regions: {region_rows.summary(self.iterator.regions)}")

  def enter(self, part: Part, step: int) -> None:
    """Go on with the parts of another phase, whose first step is `step`."""
    self.say_left_out()
    with self.opened.hang.phase("compiling"):
      self.iterator.close()
      self.step_fn, self.norms_fn, self.facts = _in_thread(
        lambda: _compiled(part, self.opened.mesh)
      )
    self.stage, self.iterator = part.stage, part.iterator
    self.evaluate_fn, self.batch_of = part.evaluate_fn, part.program.batch_of
    self.writer.write(step, self.facts)
    self.warnings.add(part.warned)
    self.reporter.enter(part.stage, part.iterator)
    self.progress.begin(step, part.stage.config.batch_size)

  def train(
    self,
    state: train_state.TrainState,
    judge: Callable[[Any], T],
    next_part: NextPart | None = None,
  ) -> T | None:
    """Run the loop, save, and judge the last state, or the selected one.

    Args:
      state: state of the first step; its arrays are given to the step.
      judge: variables -> results of the run.
      next_part: function that makes the next phase; None without phases.

    Returns:
      Results of `judge`; None if a signal ended the run early, after a line
      about it: the exit code is that of `opened.stop`.
    """
    stop, config = self.opened.stop, self.config
    stop.begin()
    with jax.transfer_guard("disallow"), jax.set_mesh(self.opened.mesh):
      while True:
        state, step, is_asked = self.loop(state)
        if is_asked or step == self.config.total_steps or next_part is None:
          break
        self.progress.end_line()
        with self.opened.hang.phase("compiling"), jax.transfer_guard("allow"):
          part, state = next_part(state, step)
        self.enter(part, step)
    self.progress.end_line()
    self.say_left_out()
    with self.opened.hang.phase("saving"):
      self.opened.checkpointer.wait()
    stop.is_kept = True
    if step < config.total_steps:
      metrics.say(
        f"{stop.name}: saved step {step} of {config.total_steps} in"
        f" {self.opened.folder}; run the same command to go on"
      )
      return None
    try:
      # The last step is judged too before the selected one is evaluated.
      if config.checkpoint.select and not self.evaluate(state, step):
        raise embedding.Interrupted
      with self.opened.hang.phase("evaluating"):
        return judge(self.selection.restore(state.variables, step))
    except embedding.Interrupted:
      metrics.say(
        f"{stop.name}: stopped in the last evaluation; run the same command to"
        " do it again"
      )
      return None

  def close_trackers(self) -> None:
    """Tell the trackers that the run is complete, and wait for them."""
    self.trackers.close(
      is_finished=True, should_stop=lambda: self.opened.stop.was_asked
    )


def start(
  config: config_lib.Config,
  run: opened_run.Opened,
  part: Part,
  watchdog: watchdog_lib.Watchdog,
  *,
  initial: Any,
  make_part: Callable[[config_lib.Stage], Part] | None = None,
) -> tuple[Session, train_state.TrainState]:
  """Compile the step, restore or make the state, and open the run's records.

  Args:
    config: checked config; it is in the folder already.
    run: opened parts; what is opened here is closed with them.
    part: parts of the phase of the newest checkpoint, which sets the position
      of its loader; all parts of a run without phases.
    watchdog: clock of the wait for data.
    initial: arrays that take the place of drawn parameters.
    make_part: function that makes the parts of another phase, where the newest
      checkpoints cannot be read; None without phases.
  """
  with run.hang.phase("compiling"):
    state, part = _in_thread(
      lambda: _restored(config, run, part, initial, make_part)
    )
    first_step = int(jax.device_get(state.step))
    step_fn, norms_fn, facts = None, None, {}
    # At the end of a phase, nothing is left to do for its step.
    if first_step < part.stage.end or first_step == config.total_steps:
      step_fn, norms_fn, facts = _in_thread(lambda: _compiled(part, run.mesh))
  iterator = part.iterator
  if first_step:
    metrics.say(f"Resuming from the checkpoint of step {first_step}")
  stack, folder = run.stack, run.folder
  record = stack.enter_context(starts.recorded(folder, first_step, run.began))
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
  warnings.add(part.warned)
  selection = selection_lib.Selection(
    folder, config.checkpoint.select, first_step
  )
  stack.callback(selection.close)
  progress = metrics.Progress(
    first_step=first_step,
    total_steps=config.total_steps,
    batch_size=part.stage.config.batch_size,
  )
  report = reporter.Reporter(
    *(part.stage, writer, progress, run.checkpointer, iterator),
    *(watchdog, warnings),
    total_steps=config.total_steps,
  )
  session = Session(
    config=config,
    stage=part.stage,
    opened=run,
    watchdog=watchdog,
    warnings=warnings,
    iterator=iterator,
    writer=writer,
    trackers=trackers,
    progress=progress,
    reporter=report,
    evaluate_fn=part.evaluate_fn,
    selection=selection,
    facts=facts,
    step_fn=step_fn,
    norms_fn=norms_fn,
    batch_of=part.program.batch_of,
    saved_step=first_step if first_step in run.steps else None,
  )
  return session, state


def _restored(
  config: config_lib.Config,
  run: opened_run.Opened,
  part: Part,
  initial: Any,
  make_part: Callable[[config_lib.Stage], Part] | None,
) -> tuple[train_state.TrainState, Part]:
  """Restore the state, or make that of step 0; return its phase's parts too."""
  program = part.program

  def abstract(step: int) -> train_state.TrainState:
    if make_part is None:
      return program.state
    stage = config_lib.stage_of_checkpoint(config, step)
    if stage.index == part.stage.index:
      return program.state
    return train_step.make(stage.config, run.mesh, span=stage.span).state

  with jax.set_mesh(run.mesh):
    state = run.checkpointer.restore(abstract, part.iterator)
    if state is None:
      state = train_state.init(
        program.init_params,
        program.optimizer,
        program.state,
        config.seed,
        initial,
        program.averaged,
      )
    if make_part is None:
      return state, part
    step = int(jax.device_get(state.step))
    stage = config_lib.stage_of_checkpoint(config, step)
    if stage.index == part.stage.index:
      return state, part
    position = part.iterator.get_state()
    part.iterator.close()
    part = make_part(stage)
    part.iterator.set_state(position)
    return state, part


def _compiled(
  part: Part, mesh: jax.sharding.Mesh
) -> tuple[Callable[..., Any], gradient_norms.NormsFn | None, dict[str, float]]:
  """Return the compiled step, the norms of single losses, and facts."""
  with jax.set_mesh(mesh):
    if part.by_count:
      step_fn, facts = patch_programs.compile_with_facts(part.by_count, mesh)
    else:
      step_fn, facts = train_step.compile_with_facts(
        part.program, mesh, part.teacher
      )
    norms_fn = gradient_norms.compile_norms(
      part.stage.config, part.program, part.by_count, mesh
    )
  return step_fn, norms_fn, facts


def _in_thread(fn: Callable[[], T]) -> T:
  """Run fn in a thread, so that a signal is handled while it compiles."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(fn).result()
