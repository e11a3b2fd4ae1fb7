"""The folder of a run: what is in it, who may write to it, what started it."""

import contextlib
import datetime
import json
import pathlib
import platform
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from evaluators.sets import old_fields
from input_pipeline import model_inputs
from runtime import cluster, failures, marks, provenance
from runtime.storage import bucket_path, unfinished, whole_files
from training import config as config_lib
from training import metrics

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
# Folder with the checkpoint of the selected step, as that of a run has its own.
SELECTED = "selected"
HUNG = "hung"
RESULTS = "results.json"
REPORT = "report.html"
# Until another machine's file is seen: network disks cache what is in a folder.
_SHARED_SECONDS = 60.0
# Sections of evaluation sets, which the message of a resumed run sums up.
_SETS = "evaluate.sets."


class WorkdirError(failures.RunError):
  """The folder cannot be used; the message says why and what to do."""


def claim(
  folder: pathlib.Path,
) -> contextlib.AbstractContextManager[str]:
  """Return a context that keeps other runs out of a folder, which it makes.

  It yields a token; see `check_shared`.

  Raises:
    RunError: it cannot be written, or another run is using it.
  """
  return unfinished.claim(folder, f"--workdir={folder}")


def check_shared(folder: pathlib.Path, token: str) -> None:
  """Check that this process sees the folder that another one claimed.

  Raises:
    WorkdirError: it does not, for as long as a network disk may take.
  """
  deadline = time.monotonic() + _SHARED_SECONDS
  while True:
    with contextlib.suppress(OSError):
      if unfinished.token(folder) == token:
        return
    if time.monotonic() > deadline:
      raise WorkdirError(
        f"--workdir={folder} is not the folder that process 0 sees; give one"
        " on a disk that all machines share"
      )
    time.sleep(0.1)


def check_alike(first: config_lib.Config, here: config_lib.Config) -> None:
  """Check that this process was started with the config of process 0.

  Raises:
    WorkdirError: a field differs that must not; all are named.
  """
  different = {
    name: values
    for name, values in config_lib.differences(first, here).items()
    if not marks.of(config_lib.Config, name).is_local
  }
  if different:
    raise WorkdirError(
      "all processes must have the same config; "
      + "; ".join(
        f"{name} is {theirs!r} on process 0 and {ours!r} here"
        for name, (theirs, ours) in different.items()
      )
    )


def claim_for_all(
  folder: pathlib.Path, config: config_lib.Config, stack: contextlib.ExitStack
) -> None:
  """Claim the folder until `stack` ends; check that all processes are one run.

  Raises:
    RunError: as `claim`, `check_shared` and `check_alike`.
    ClusterError: one of these on another process.
  """
  mapping = cluster.on_first(lambda: config_lib.to_mapping(config))
  first = config_lib.from_mapping(mapping)
  cluster.together(lambda: check_alike(first, config))
  claimed = claim(folder)
  token = cluster.on_first(lambda: stack.enter_context(claimed))
  cluster.together(lambda: check_shared(folder, token))


def restorer(folder: pathlib.Path) -> Callable[[], None]:
  """Return a function that deletes all that came into a folder since now.

  It is called while the folder is claimed. A folder that is not there now is
  deleted whole, with those above it that are not there either, if they are
  empty. In a bucket nothing is deleted.
  """
  if isinstance(folder, bucket_path.BucketPath):
    return lambda: None
  missing = [path for path in (folder, *folder.parents) if not path.exists()]
  try:
    before = set() if missing else {path.name for path in folder.iterdir()}
  except OSError:  # a file, or one that may not be read: the claim says so
    return lambda: None

  def restore() -> None:
    # Errors are ignored: the one that ended the run is to be seen.
    with contextlib.suppress(OSError):
      for path in [*folder.iterdir()]:
        if path.name in before:
          continue
        if path.is_dir() and not path.is_symlink():
          shutil.rmtree(path, ignore_errors=True)
        else:
          path.unlink()
      for path in missing:
        path.rmdir()

  return restore


def is_done(
  folder: pathlib.Path, config: config_lib.Config, steps: list[int]
) -> bool:
  """Return whether nothing is left to do for the run in a folder.

  Args:
    folder: the run's, claimed.
    config: checked.
    steps: steps with a checkpoint.

  Raises:
    RunError: another config's run is in it, or one past the last step.
  """
  started_with = read_config(folder)
  if started_with is not None and steps:
    check_same(folder, started_with, config)
    check_steps(folder, config, steps)
    return is_complete(folder, config, steps)
  return False


def begin(
  folder: pathlib.Path,
  config: config_lib.Config,
  inputs: model_inputs.ModelInputs,
) -> None:
  """Write a run's config, image protocol and tokenizer into its folder."""
  write_config(folder, config)
  model_inputs.write(inputs, folder)


def write_config(folder: pathlib.Path, config: config_lib.Config) -> None:
  """Write config.json: the config, library versions and the commit."""
  text = json.dumps(
    {
      "config": config_lib.to_mapping(config),
      "command": sys.argv,
      "started": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
      "python": platform.python_version(),
      "versions": provenance.versions(),
      "commit": provenance.commit(),
    },
    indent=2,
  )
  whole_files.write(folder / CONFIG, text.encode() + b"\n")


def is_run(folder: pathlib.Path) -> bool:
  """Return whether a folder is that of a run, begun or finished."""
  return (folder / CONFIG).is_file() and (folder / CHECKPOINTS).is_dir()


def has_config(folder: pathlib.Path) -> bool:
  """Return whether a folder's config.json is that of a run."""
  try:
    values = json.loads((folder / CONFIG).read_text())
  except (OSError, ValueError):
    return False
  return isinstance(values, dict) and {"config", "versions"} <= values.keys()


def has_checkpoint(folder: pathlib.Path) -> bool:
  """Return whether a folder holds the checkpoint of a step."""
  return any(path.name.isdecimal() for path in (folder / CHECKPOINTS).glob("*"))


def newest_step(folder: pathlib.Path) -> int | None:
  """Return the step of the weights that a run is used with, None without."""
  names = (path.name for path in weights(folder).glob("*"))
  return max((int(name) for name in names if name.isdecimal()), default=None)


def selected(folder: pathlib.Path) -> pathlib.Path:
  """Return the folder of the selected step's checkpoint."""
  return folder / SELECTED / CHECKPOINTS


def weights(folder: pathlib.Path) -> pathlib.Path:
  """Return the folder of checkpoints whose newest has a run's weights.

  It is that of the selected step where checkpoint.select selected one.
  """
  is_selected = has_checkpoint(folder / SELECTED)
  return selected(folder) if is_selected else folder / CHECKPOINTS


def read_config(folder: pathlib.Path) -> config_lib.Config | None:
  """Return the config that a run was started with, None without one.

  Raises:
    WorkdirError: config.json cannot be read.
  """
  try:
    text = (folder / CONFIG).read_text()
    values = old_fields.upgraded(json.loads(text)["config"])
    return config_lib.from_mapping(values)
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise WorkdirError(
      f"{folder / CONFIG} cannot be read: {error}. It was written by another"
      " version, or changed; give another --workdir"
    ) from error


def check_encoder(folder: pathlib.Path, config: config_lib.Config) -> None:
  """Raise WorkdirError for a run of another task, which has no text tower."""
  if config.vqa.is_on:
    raise WorkdirError(
      f"{folder} must be a run of --task=train; got one of --task=vqa, which"
      " answers questions and embeds no texts"
    )
  if config.fusion.kind:
    raise WorkdirError(
      f"{folder} must be a run of --task=train; got one of --task=fuse, which"
      " scores pairs and answers and embeds no texts"
    )
  if config.detection.is_on:
    raise WorkdirError(
      f"{folder} must be a run of --task=train; got one of --task=detect, which"
      " finds boxes and embeds no texts"
    )


def is_complete(
  folder: pathlib.Path, config: config_lib.Config, steps: list[int]
) -> bool:
  """Return whether a run has its last checkpoint, results and report."""
  return steps[-1:] == [config.total_steps] and all(
    (folder / name).exists() for name in (RESULTS, REPORT)
  )


def read_results(folder: pathlib.Path) -> dict[str, Any]:
  """Return the results of a run's last evaluation."""
  return json.loads((folder / RESULTS).read_text())


def check_same(
  folder: pathlib.Path, old: config_lib.Config, new: config_lib.Config
) -> None:
  """Let a run resume only what it would itself have made.

  Raises:
    RunError: a field differs that alters the result; all are named.
  """
  changed = config_lib.differences(old, new)
  refused = [
    unfinished.change(name, was, now)
    for name, (was, now) in changed.items()
    if not marks.of(config_lib.Config, name).may_change
    # Micro-batches say which rows are negatives of each other.
    or (name == "num_microbatches" and new.loss.scope == "microbatch")
  ]
  if refused:
    raise unfinished.other_key(
      f"--workdir={folder}",
      "a run with another config; undo these changes to resume it",
      refused,
    )
  for name, (was, now) in changed.items():
    if not name.startswith(_SETS):
      metrics.say(f"Resuming with {name} changed from {was!r} to {now!r}")
  sets = {name.split(".")[2] for name in changed if name.startswith(_SETS)}
  if sets:  # one line instead of one for each of their fields
    metrics.say(
      f"Resuming with evaluate.sets changed: {', '.join(sorted(sets))}"
    )


def check_steps(
  folder: pathlib.Path, config: config_lib.Config, steps: list[int]
) -> None:
  """Raise WorkdirError where a run is past the last step asked for."""
  if steps[-1] > config.total_steps:
    raise WorkdirError(
      f"--workdir={folder} has a checkpoint of step {steps[-1]} already, past"
      f" total_steps={config.total_steps}; ask for more steps, or give another"
      " folder"
    )
