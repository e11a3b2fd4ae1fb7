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
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax

from evaluators import embedding
from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from runtime import cluster, compilation_cache, hung_processes
from runtime import mesh as mesh_lib
from runtime import stopping as stopping_lib
from training import checkpointing, metrics, reporter, train_state, train_step
from training import config as config_lib
from training import selection as selection_lib
from training import stop as stop_lib
from training.run import run_warnings, starts, workdir
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


@dataclasses.dataclass(frozen=True)
class Opened:
  """Parts of a run that come before its data and its model.

  Attributes:
    began: time.monotonic() of the start.
    steps: steps that have a checkpoint.
    stack: what is closed when the run ends, in reverse order.
  """

  folder: pathlib.Path
  began: float
  mesh: jax.sharding.Mesh
  stop: stop_lib.Stop
  hang: hung_processes.Watchdog
  checkpointer: checkpointing.Checkpointer
  steps: list[int]
  stack: contextlib.ExitStack

  def take(self, iterator: loader.Loader) -> None:
    """Check the loader of the run's data, and close it with the run.

    Raises:
      ValueError: the data are not those that the run began with.
      cluster.ClusterError: the same on another process.
    """
    self.stack.enter_context(contextlib.closing(iterator))
    if self.steps:
      cluster.together(iterator.check_unchanged)
    for name, held_out in iterator.held_out.items():
      metrics.say(f"Held out of data.sources.{name}: {held_out}")


@contextlib.contextmanager
def opened(config: config_lib.Config, folder: pathlib.Path) -> Iterator[Opened]:
  """Claim the run's folder, open its checkpoints, and watch over it.

  An error before the loop begins leaves the folder as it was; one that was not
  there is deleted.

  Args:
    config: checked config of the run.
    folder: folder of the run, made if it is not there.
  """
  began = time.monotonic()
  compilation_cache.enable(folder)
  stop = stop_lib.Stop()
  mesh = mesh_lib.make_mesh(config.mesh)
  with contextlib.ExitStack() as stack:
    stack.callback(stop.restore)
    restore = workdir.restorer(folder)
    workdir.claim_for_all(folder, config, stack)

    def restore_after(kind: type[BaseException] | None, *_: Any) -> None:
      if kind is None or stop.has_begun or not cluster.is_first():
        return
      if not workdir.has_checkpoint(folder):
        restore()

    stack.push(restore_after)
    hang = hung_processes.Watchdog(
      config.hang, folder / workdir.HUNG, lambda: _code_of_hang(folder)
    )
    stack.enter_context(hang.watching())
    checkpointer = checkpointing.Checkpointer(
      folder / workdir.CHECKPOINTS, keep=config.checkpoint.keep
    )
    stack.callback(checkpointer.close)
    steps = checkpointer.steps()
    stop.is_kept = bool(steps)
    yield Opened(
      folder, began, mesh, stop, hang, checkpointer, list(steps), stack
    )


@dataclasses.dataclass
class Session:
  """Parts of a run that its loop uses.

  Attributes:
    facts: figures of the compiled step, by name.
    step_fn: compiled training step.
    batch_of: arrays by name, as the loader yields them -> batch of `step_fn`.
    saved_step: newest step with a checkpoint, None without any.
  """

  config: config_lib.Config
  opened: Opened
  watchdog: watchdog_lib.Watchdog
  iterator: loader.Loader
  writer: metrics.Writer
  trackers: trackers_lib.Trackers
  progress: metrics.Progress
  reporter: reporter.Reporter
  evaluate_fn: Callable[[Any, float], dict[str, float]]
  selection: selection_lib.Selection
  facts: dict[str, float]
  step_fn: Callable[..., Any]
  batch_of: Callable[[dict[str, Any]], Any]
  saved_step: int | None

  def save(self, state: train_state.TrainState, step: int) -> None:
    """Save the state, unless it was saved before."""
    if self.saved_step == step:
      return
    with self.progress.pause(), self.opened.hang.phase("saving"):
      self.writer.sync()
      self.iterator.sync()
      self.opened.checkpointer.save(state, self.iterator, step)
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
  ) -> tuple[train_state.TrainState, int]:
    """Train until the last step, or until asked to end.

    Returns:
      The state, and its step.
    """
    stop = self.opened.stop
    first_step = step = int(jax.device_get(state.step))
    step_metrics = None
    while True:
      stopping = stop.requested()
      now = due(step, self.config, first_step=first_step, stopping=stopping)
      if now.save or now.evaluate:
        self.reporter.flush()  # raises for a loss that is not finite
      if now.save:  # before the evaluation: if that fails, no step is lost
        self.save(state, step)
      if now.evaluate and not self.evaluate(state, step):
        self.save(state, step)
        return state, step
      if now.last:
        return state, step
      batch = self.fetch(step_metrics)
      state, step_metrics = self.step_fn(state, batch)
      step += 1
      self.reporter.add(step, step_metrics)
      self.opened.hang.end_step(step)

  def train(
    self, state: train_state.TrainState, judge: Callable[[Any], T]
  ) -> T | None:
    """Run the loop, save, and judge the last state, or the selected one.

    Args:
      state: state of the first step; its arrays are given to the step.
      judge: variables -> results of the run.

    Returns:
      Results of `judge`; None if a signal ended the run early, after a line
      about it: the exit code is that of `opened.stop`.
    """
    stop, config = self.opened.stop, self.config
    stop.begin()
    with jax.transfer_guard("disallow"), jax.set_mesh(self.opened.mesh):
      state, step = self.loop(state)
    self.progress.end_line()
    if self.iterator.summary():
      metrics.say(f"Left out of the batches: {self.iterator.summary()}")
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
  run: Opened,
  program: train_step.StepProgram,
  iterator: loader.Loader,
  watchdog: watchdog_lib.Watchdog,
  *,
  initial: Any,
  evaluate_fn: Callable[[Any, float], dict[str, float]],
  warned: Mapping[str, str],
) -> tuple[Session, train_state.TrainState]:
  """Compile the step, restore or make the state, and open the run's records.

  Args:
    config: checked config; it is in the folder already.
    run: opened parts; what is opened here is closed with them.
    program: step to compile.
    iterator: loader of batches; a checkpoint sets its position.
    watchdog: clock of the wait for data.
    initial: arrays that take the place of drawn parameters.
    evaluate_fn: variables and seconds a step -> figures by name.
    warned: warnings that follow from the config and the data.
  """
  with run.hang.phase("compiling"):
    state, step_fn, facts = _in_thread(
      lambda: _build(
        config, run.mesh, program, run.checkpointer, iterator, initial
      )
    )
  first_step = int(jax.device_get(state.step))
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
  warnings.add(warned)
  selection = selection_lib.Selection(
    folder, config.checkpoint.select, first_step
  )
  stack.callback(selection.close)
  progress = metrics.Progress(
    first_step=first_step,
    total_steps=config.total_steps,
    batch_size=config.batch_size,
  )
  report = reporter.Reporter(
    config, writer, progress, run.checkpointer, iterator, watchdog, warnings
  )
  session = Session(
    config=config,
    opened=run,
    watchdog=watchdog,
    iterator=iterator,
    writer=writer,
    trackers=trackers,
    progress=progress,
    reporter=report,
    evaluate_fn=evaluate_fn,
    selection=selection,
    facts=facts,
    step_fn=step_fn,
    batch_of=program.batch_of,
    saved_step=first_step if first_step in run.steps else None,
  )
  return session, state


def _build(
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


def _code_of_hang(folder: pathlib.Path) -> int:
  """Return the exit code of a run that hangs: 75 if it has a checkpoint."""
  return stopping_lib.REQUEUE if workdir.has_checkpoint(folder) else 1


def _in_thread(fn: Callable[[], T]) -> T:
  """Run fn in a thread, so that a signal is handled while it compiles."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(fn).result()
