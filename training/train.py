"""The training loop, and what is done before and after it.

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
import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from evaluators import embedding, suite, summary
from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from models import dual_encoder
from runtime import cluster, compilation_cache, failures, provenance
from runtime import mesh as mesh_lib
from training import (
  checkpointing,
  flops,
  metrics,
  starting_weights,
  step_program,
  text_ids,
  train_state,
  train_step,
  workdir,
)
from training import config as config_lib
from training import stop as stop_lib
from training.report import report

T = TypeVar("T")
# Seconds between two lines on the clock in metrics.jsonl.
_CLOCK_SECONDS = 10.0


class NonFiniteError(failures.RunError):
  """The loss or its gradient is not a number; the message names the step."""


@dataclasses.dataclass(frozen=True)
class _Program:
  """The compiled step and what is known of it."""

  step: Callable[..., Any]
  facts: dict[str, float]


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last step, evaluate, write the report; resume if begun.

  Args:
    config: checked.
    folder: the run's, made if it is not there.
    as_json: print the results as JSON instead of a table.

  Returns:
    The exit code: 0 also when SIGTERM ended the run early, its state saved.
  """
  compilation_cache.enable(folder)
  stop = stop_lib.Stop()
  mesh = mesh_lib.make_mesh(config.mesh)
  step_program.check(config, mesh)
  text_ids.check(config)
  with contextlib.ExitStack() as stack:
    stack.callback(stop.restore)
    workdir.claim_for_all(folder, config, stack)
    checkpointer = checkpointing.Checkpointer(
      folder / workdir.CHECKPOINTS, keep=config.checkpoint.keep
    )
    stack.callback(checkpointer.close)
    steps = checkpointer.steps()
    # Before the config is written: what cannot be read leaves no run behind.
    given = {} if steps else starting_weights.read(config, mesh)
    if cluster.on_first(lambda: workdir.begin(folder, config, steps)):
      metrics.say(f"{folder} is complete; its last evaluation:")
      results = cluster.on_first(lambda: workdir.read_results(folder))
      return _print_results(results, as_json)
    watchdog = stack.enter_context(watchdog_lib.watch(config.data))
    run = _Run(config, folder, mesh, stop, checkpointer, watchdog, given)
    del given  # the state of step 0 takes its place
    return run.run(as_json)


class _Run:
  """One run; holds what the stages of it share."""

  def __init__(self, config, folder, mesh, stop, checkpointer, watchdog, given):
    self._config: config_lib.Config = config
    self._given: Any = given  # parameters to begin with
    self._folder: pathlib.Path = folder
    self._mesh: jax.sharding.Mesh = mesh
    self._stop: stop_lib.Stop = stop
    self._checkpointer: checkpointing.Checkpointer = checkpointer
    self._watchdog: watchdog_lib.Watchdog = watchdog
    self._images_per_s = 0.0

  def run(self, as_json: bool) -> int:
    config = self._config
    eval_data = cluster.first_then_all(lambda: suite.load_data(config))
    iterator = cluster.together(
      lambda: loader.make_loader(
        config.data,
        folder=self._folder,
        batch_size=config.batch_size,
        seed=config.seed,
        rows=mesh_lib.local_rows(config.batch_size, self._mesh),
        with_labels=config.loss.needs_labels,
        process_index=jax.process_index(),
        clocks=self._watchdog.clocks,
      )
    )
    if self._checkpointer.steps():
      cluster.together(iterator.check_unchanged)
    state, program = _in_thread(lambda: self._build(iterator))
    first_step = int(jax.device_get(state.step))
    if first_step:
      metrics.say(f"Resuming from the checkpoint of step {first_step}")
    writer = metrics.Writer(self._folder, workdir.METRICS, first_step)
    with contextlib.closing(iterator), contextlib.closing(writer):
      writer.write(first_step, program.facts)
      self._stop.begin()
      evaluator = _Evaluator(config, eval_data, self._mesh, self._stop)
      state = self._loop(
        state, first_step, program, iterator, writer, evaluator
      )
      if state is None:
        return self._stop.exit_code
      try:
        results, panels = evaluator.final(state.params)
      except embedding.Interrupted:
        metrics.say(
          f"{self._stop.name}: stopped in the last evaluation; run the same"
          " command to do it again"
        )
        return self._stop.exit_code
      writer.write(config.total_steps, suite.scalars(results))
    if cluster.is_first():
      summary.write_results(self._folder / workdir.RESULTS, results)
      self._write_report(results, panels, program.facts)
    _print_results(results, as_json)
    metrics.say(f"Report: {self._folder / workdir.REPORT}")
    return 0

  def _build(self, iterator: Any) -> tuple[train_state.TrainState, _Program]:
    """Make or restore the state and compile the step."""
    program = step_program.make(self._config, self._mesh)
    with jax.set_mesh(self._mesh):
      state = self._checkpointer.restore(program.state, iterator)
      if state is None:
        state = train_state.init(
          program.init_params,
          program.optimizer,
          program.state,
          self._config.seed,
          self._given,
        )
      self._given = None
      return state, self._compile(program)

  def _compile(self, program: step_program.StepProgram) -> _Program:
    traced = (program.step, program.state, program.batch)
    start = time.monotonic()
    compiled = train_step.compile_train_step(*traced, self._mesh)
    seconds = time.monotonic() - start
    memory = compiled.memory_analysis()
    facts = {
      "compile/seconds": seconds,
      "compile/step_gflop": flops.count(*traced) / 1e9,
      "compile/num_parameters": train_state.count_params(program.state.params),
      "compile/num_devices": self._mesh.size,
      "compile/argument_mib": _mib(memory, "argument_size_in_bytes"),
      "compile/temporary_mib": _mib(memory, "temp_size_in_bytes"),
    }
    metrics.say(
      f"{facts['compile/num_parameters'] / 1e6:.2f} M parameters,"
      f" {facts['compile/step_gflop']:,.1f} GFLOP a step,"
      f" {self._mesh.size} {jax.devices()[0].platform} device(s), each with"
      f" {facts['compile/argument_mib']:,.0f} MiB of state and batch and"
      f" {facts['compile/temporary_mib']:,.0f} MiB of temporaries;"
      f" compiled in {seconds:.1f} s"
    )
    return _Program(compiled, facts)

  def _loop(
    self, state, first_step, program, iterator, writer, evaluator
  ) -> train_state.TrainState | None:
    """Return the state of the last step, None if asked to stop before it."""
    config = self._config
    progress = metrics.Progress(
      first_step=first_step,
      total_steps=config.total_steps,
      batch_size=config.batch_size,
    )
    args = (self._checkpointer, iterator, self._watchdog)
    reporter = _Reporter(config, writer, progress, *args)
    step_metrics = None  # of the step before, whose end the watchdog notes
    saved = first_step if first_step in self._checkpointer.steps() else None

    def save(step: int) -> None:
      nonlocal saved
      if saved != step:
        with progress.pause():
          writer.sync()
          iterator.sync()
          self._checkpointer.save(state, iterator, step)
        saved = step

    with jax.transfer_guard("disallow"), jax.set_mesh(self._mesh):
      for step in range(first_step, config.total_steps + 1):
        is_last = step == config.total_steps
        stopping = self._stop.requested()
        to_save = (
          is_last
          or stopping
          or (step > first_step and step % config.checkpoint.every_steps == 0)
        )
        to_evaluate = (
          config.evaluate.every_steps
          and step
          and step % config.evaluate.every_steps == 0
          and not is_last
        )
        if to_save or to_evaluate:
          # Nothing is saved that came from a loss that is not finite.
          reporter.flush()
        if to_save:
          save(step)
        if to_evaluate and not stopping:
          with progress.pause():
            try:
              writer.write(step, evaluator.scalars(state.params))
            except embedding.Interrupted:
              save(step)
              stopping = True
        if is_last or stopping:
          break
        finished = functools.partial(jax.block_until_ready, step_metrics)
        batch = self._watchdog.next(iterator, finished)
        batch = mesh_lib.make_global(batch, self._mesh)
        state, step_metrics = program.step(state, batch)
        reporter.add(step + 1, step_metrics)
    progress.end_line()
    if iterator.summary():
      metrics.say(f"Left out of the batches: {iterator.summary()}")
    self._images_per_s = progress.images_per_s(step)
    self._checkpointer.wait()
    if is_last:
      return state
    metrics.say(
      f"{self._stop.name}: saved step {step} of {config.total_steps} in"
      f" {self._folder}; run the same command to go on"
    )
    return None

  def _write_report(self, results, panels, facts) -> None:
    config = self._config
    report.write(
      self._folder,
      title=self._folder.name,
      facts={
        "steps": f"{config.total_steps:,}",
        "batch size": f"{config.batch_size:,}",
        "loss": config.loss.name,
        "parameters": f"{facts['compile/num_parameters']:,}",
        "GFLOP a step": f"{facts['compile/step_gflop']:,.1f}",
        "finished": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        "images a second": f"{self._images_per_s:,.0f}",
        "devices": f"{self._mesh.size} {jax.devices()[0].device_kind}",
        "languages": ", ".join(config.data.languages),
        **provenance.versions(),
        "commit": provenance.commit()[:12] or "unknown",
      },
      results=results,
      panels=panels,
    )


class _Reporter:
  """Passes metrics on one step late, and stops the run if they are broken."""

  def __init__(
    self, config, writer, progress, checkpointer, iterator, watchdog
  ):
    self._config: config_lib.Config = config
    self._writer: metrics.Writer = writer
    self._progress: metrics.Progress = progress
    self._checkpointer: checkpointing.Checkpointer = checkpointer
    self._iterator: loader.Loader = iterator
    self._watchdog: watchdog_lib.Watchdog = watchdog
    self._pending: tuple[int, Any] | None = None
    self._clock = time.monotonic()

  def add(self, step: int, device_metrics: Any) -> None:
    self.flush()
    self._pending = (step, device_metrics)

  def flush(self) -> None:
    if self._pending is None:
      return
    step, device_metrics = self._pending
    self._pending = None
    values = {
      name: float(value)
      for name, value in jax.device_get(device_metrics).items()
    }
    self._check_finite(step, values)
    is_last = step == self._config.total_steps
    if step % self._config.log_every_steps == 0 or is_last:
      self._writer.write(step, values)
    self._progress.update(step, values["train/loss"])
    if time.monotonic() - self._clock > _CLOCK_SECONDS or is_last:
      self._clock = time.monotonic()
      values = {"time/images_per_s": self._progress.images_per_s(step)}
      values |= self._watchdog.report()
      if self._iterator.bad_fraction:
        values["data/bad_fraction"] = self._iterator.bad_fraction
      self._writer.write(step, values)

  def _check_finite(self, step: int, values: dict[str, float]) -> None:
    broken = {k: v for k, v in values.items() if not math.isfinite(v)}
    if not broken:
      return
    self._progress.end_line()
    self._checkpointer.wait()
    good = self._checkpointer.steps()
    kept = (
      f"the checkpoint of step {good[-1]} is whole"
      if good
      else "there is no checkpoint yet"
    )
    name, value = next(iter(broken.items()))
    raise NonFiniteError(
      f"{name} is {value} at step {step}; {kept}. Try, in another --workdir,"
      " a lower optimizer.learning_rate, a longer optimizer.warmup_steps or a"
      " smaller optimizer.clip_norm."
    )


class _Evaluator:
  """Evaluates parameters on the held-out data."""

  def __init__(self, config, data, mesh, stop):
    self._config: config_lib.Config = config
    self._data: suite.Data = data
    self._embedder = embedding.make_embedder(
      *dual_encoder.embed_fns(config.model, mesh_lib.BATCH_AXES),
      mesh,
      config.evaluate.batch_size,
      stop.requested,
    )

  def scalars(self, params: Any) -> dict[str, float]:
    return suite.scalars(
      suite.run(self._config, self._data, self._embedder, params)
    )

  def final(self, params: Any) -> tuple[suite.Results, Any]:
    with jax.set_mesh(self._embedder.mesh):
      args = (self._config, self._data)
      embeddings = suite.embed(*args, self._embedder, params)
      return (
        suite.score(*args, embeddings, self._embedder),
        suite.gallery(*args, embeddings, self._embedder),
      )


def _print_results(results: suite.Results, as_json: bool) -> int:
  if cluster.is_first():
    print(json.dumps(results) if as_json else summary.table(results))
  return 0


def _in_thread(fn: Callable[[], T]) -> T:
  """Run fn in a thread, so that a signal is handled while it compiles."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(fn).result()


def _mib(memory: Any, field: str) -> float:
  """Return a figure of the compiler's memory analysis, which may have none."""
  return getattr(memory, field, 0) / 2**20
