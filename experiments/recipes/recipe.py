"""Full-size recipe of a published model, and the command that launches it."""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

# Chip -> name of the accelerator in launch/*.yaml, how much of its number is a
# chip, and name of the runtime (docs/tpu.md).
_ACCELERATORS: Mapping[str, tuple[str, int, str]] = {
  "v4": ("v4", 2, "tpu-ubuntu2204-base"),
  "v5e": ("v5litepod", 1, "v2-alpha-tpuv5-lite"),
  "v5p": ("v5p", 2, "v2-alpha-tpuv5"),
  "v6e": ("v6e", 1, "v2-alpha-tpuv6e"),
}
# Most chips of a slice that is one machine.
_ONE_MACHINE = {"v4": 4, "v5e": 8, "v5p": 4, "v6e": 8}


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A run of a paper at full size, on a slice that its step is planned for.

  Attributes:
    name: name of its file in plans/, and of its run.
    folder: folder below experiments/ whose README.md has its row.
    module: file of the config below configs/, without ".py".
    variant: variant of the config.
    topology: slice, as --topology takes it.
    pairs: image-text pairs that the run reads in all (images, if they have
      several texts; rows, if an image is asked several questions).
    pairs_source: source of `pairs`.
    expected: expected figure with its source; a paper's, none of this project.
    hardware: hardware of the paper, "not stated" if it names none.
    cost: chip-hours of the paper with their source, "" if not known.
    changes: config field -> value in which the run differs from the config, to
      fit into the slice.
    note: what the changes make different in the result; "" for rounding alone.
    data: further flags of the launched command, which no plan depends on.
    num_slices: number of slices that are joined.
    task: --task of the launched command.
  """

  name: str
  folder: str
  module: str
  variant: str
  topology: str
  pairs: float
  pairs_source: str
  expected: str
  hardware: str
  cost: str = ""
  changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  data: Sequence[str] = ()
  num_slices: int = 1
  task: str = "train"
  note: str = ""

  @property
  def config(self) -> str:
    """Value of --config."""
    return f"configs/{self.module}.py:{self.variant}"

  @property
  def num_chips(self) -> int:
    """Number of chips of all slices."""
    sizes = self.topology.partition(":")[2].split("x")
    return math.prod(int(n) for n in sizes) * self.num_slices

  def change(self, config: ml_collections.ConfigDict) -> None:
    """Make the recipe's changes in a config; ValueError for no such field."""
    for name, value in self.changes.items():
      *path, last = name.split(".")
      section: Any = config
      for part in path:
        section = section.get(part, {})
      if last not in section:
        raise ValueError(
          f"{self.name}: changes must name fields of {self.config}; got {name}"
        )
      section[last] = value

  def plan_flags(self) -> list[str]:
    """Return flags of main.py that plan the step."""
    return [
      *("--task=plan", f"--config={self.config}"),
      f"--topology={self.topology}",
      *([f"--num_slices={self.num_slices}"] if self.num_slices > 1 else ()),
      *self._change_flags(),
    ]

  def run_flags(self) -> list[str]:
    """Return flags of main.py that train; capitals stand for the user's."""
    return [
      *([f"--task={self.task}"] if self.task != "train" else ()),
      f"--config={self.config}",
      f"--workdir=gs://BUCKET/runs/{self.name}",
      *self._change_flags(),
      *self.data,
    ]

  def launch_lines(self) -> list[str]:
    """Return lines of a shell that start the run on its slices."""
    words = [_quoted(word) for word in self.run_flags()]
    kind = self.topology.partition(":")[0]
    accelerator, cores, runtime = _ACCELERATORS[kind]
    chips = self.num_chips // self.num_slices
    size = f"{accelerator}-{cores * chips}"
    if self.num_slices > 1:
      name = self.name.replace("_", "-")
      return [
        f"TPU_TYPE={size} NUM_SLICES={self.num_slices} \\",
        "  CLUSTER=NAME ZONE=ZONE \\",
        *_wrapped(["  launch/xpk.sh", name, *words]),
      ]
    if chips <= _ONE_MACHINE[kind]:
      file, old = "launch/tpu-vm.yaml", "v5litepod-8"
    else:
      file, old = "launch/tpu-pod-queued.yaml", "v5litepod-16"
    lines, on = [], file
    if size != old:
      on = f"launch/{size}.yaml"
      edits = f"s/{old}/{size}/"
      if kind != "v5e":
        edits += f"; s/v2-alpha-tpuv5-lite/{runtime}/"
      lines.append(f"sed '{edits}' {file} > {on}")
    start = ["python main.py", "--task=launch", f"--on={on}", "--"]
    return [*lines, *_wrapped([*start, *words])]

  def _change_flags(self) -> list[str]:
    return [f"--config.{key}={value}" for key, value in self.changes.items()]


def _quoted(word: str) -> str:
  flag, equals, value = word.partition("=")
  return flag + equals + (shlex.quote(value) if value else "")


def _wrapped(words: Sequence[str], width: int = 88) -> list[str]:
  """Return words as lines of one command."""
  lines = [words[0]]
  for word in words[1:]:
    if len(lines[-1]) + len(word) + 3 > width:
      lines[-1] += " \\"
      lines.append(f"  {word}")
    else:
      lines[-1] += f" {word}"
  return lines
