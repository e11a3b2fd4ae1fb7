"""Runs of phases that are killed around a switch, on files of colours."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from tests import forked_runs

# Kills the process once the metrics of a step are about to be written.
KILL_AT = """
import os, signal
from training import reporter
add = reporter.Reporter.add
def killed(self, step, *args):
  if step == {step}:
    self.writer.sync()
    self.checkpointer.wait()
    os.kill(os.getpid(), signal.SIGKILL)
  add(self, step, *args)
reporter.Reporter.add = killed
"""
# Kills the process within the switch to a phase, its new state made, once the
# checkpoint of the phase that ended is whole.
KILL_IN_SWITCH = """
import os, signal
from training import train
following = train._Parts.next
def killed(self, state, step):
  made = following(self, state, step)
  if step == {step}:
    self.run.checkpointer.wait()
    os.kill(os.getpid(), signal.SIGKILL)
  return made
train._Parts.next = killed
"""


@contextlib.contextmanager
def runner(
  folder: pathlib.Path, config: str, pairs: pathlib.Path
) -> Iterator[Callable[..., str]]:
  """Yield once(workdir, *flags, before="", code=0), which runs main.py.

  It returns the run's output, and fails where its exit code is not `code`.

  Args:
    folder: folder of the caches and of the output.
    config: value of --config.
    pairs: folder of images and texts, of tiny_phases.write_pairs.
  """
  forks = forked_runs.Forks(folder)

  def once(workdir, *args, before="", code=0):
    flags = {
      "config": config,
      "workdir": workdir,
      "config.data.sources.main.path": pairs,
      "config.data.cache_dir": folder / "cache",
    }
    named = [f"--{name}={value}" for name, value in flags.items()]
    got, output = forks.run([*named, *args], before)
    assert got == code, output
    return output

  try:
    yield once
  finally:
    forks.close()


def digests(workdir: pathlib.Path) -> dict[int, Any]:
  """Return the digests of arrays in each checkpoint, by step."""
  found = {}
  for folder in (workdir / "checkpoints").iterdir():
    text = (folder / "_CHECKPOINT_METADATA").read_text()
    found[int(folder.name)] = json.loads(text)["custom_metadata"]
  return found
