"""Phases of a run: stretches of its steps, each with changes of its config.

Florence leaves out prompted texts after its first phase and enlarges images in
its last one, CLIPA and FLIP begin with small or masked images, SigLIP 2 adds
losses and ends at other resolutions: each is one run, one schedule of data and
one folder. The rules, which every kind of staged run shares:

- A phase has a name, the step at which it ends, and changes: a part of a config
  in the config's own nesting. They hold from its first step on, in all later
  phases too, until another phase changes the same field. Phases follow each
  other by the step at which they end.
- A phase's fields in force are a config like any other: it is made and checked
  before step 0, and everything that a run without phases does with its config
  (data, step, plan, evaluation) is done with it. `CHANGEABLE` names the fields
  that may change, `_FOLLOWS` those of a tower that follow one of the data.
- A phase ends with a checkpoint in its own shapes. The state of the next phase
  is a function of that checkpoint, the config and the seed
  (phases/switching.py), so that a run killed before, within or after the switch
  comes to the same bits. A checkpoint of step s is therefore one of the phase
  that made update s - 1.
- The order of examples goes on where the phase before ended: a phase that
  changes nothing about the data trains on the batches of a run without it. With
  another batch size, the next whole batch is taken. The position in the data is
  counted in batches of the phase's size from the run's first example on.
- The schedule of the learning rate goes through all phases, but a phase with
  `own_schedule` begins one: from its first step to the next such phase, or to
  the last step. A step of a phase with `stretch` counts 1 / stretch of a step
  of the schedule, whose length is the sum of these: NaFlex's phase of SigLIP 2
  has the last 10 % of the schedule in 3.75 times as many steps.
- Evaluations take the image size in force, and the sources of the config
  without phases: a figure is of the same held-out images in all phases.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from runtime import checks, marks, sections

# Regexes (re.fullmatch) of fields that a phase may change.
CHANGEABLE = (
  "batch_size",
  "num_microbatches",
  "num_largest_updates",
  "text_lengths",
  "partition_rules",
  r"data\.sources\..*",
  r"data\.augmentation\..*",
  r"data\.(image_size|languages|leave_out|max_caption_chars|cut_captions)",
  r"data\.train_num_tokens",
  r"loss\..*",
  r"decoding\.weight",
  r"distillation\..*",
  r"curating\..*",
  r"data\.views\..*",
  r"model\.(remat|remat_chunks|scale_max)",
  r"model\.image\.patch_size",
  r"model\.(image|text)\.(dropout|patch_dropout|drop_path)",
  r"optimizer\.(?!name$|moment_dtype$).*",
)
# Field of the data -> field of a tower that has it too.
_FOLLOWS = {
  "data.image_size": "model.image.image_size",
  "data.augmentation.max_num_patches": "model.image.max_num_patches",
}
# Fields of the optimizer that say how the learning rate goes over the steps.
_SCHEDULE = (
  *("schedule", "warmup_steps", "cooldown_steps"),
  *("timescale_steps", "final_fraction", "factors"),
)
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_SOURCES = "data.sources."


@dataclasses.dataclass(frozen=True)
class PhaseConfig:
  """Fields of `config.phases.NAME`; configs/base.py explains them."""

  until: marks.Fixed[int]
  own_schedule: marks.Fixed[bool] = False
  stretch: marks.Fixed[float] = 1.0
  changes: marks.Fixed[Mapping[str, Any]] = dataclasses.field(
    # A dict has no hash; configs that differ in it alone may share theirs.
    default_factory=dict,
    hash=False,
  )

  def __post_init__(self):
    # JSON has lists where a config has tuples.
    object.__setattr__(self, "changes", _with_tuples(self.changes))


class Stretch(NamedTuple):
  """Steps of a phase: from `first_step` to before `end`."""

  name: str
  first_step: int
  end: int


def stretches(
  phases: Mapping[str, PhaseConfig], total_steps: int
) -> list[Stretch]:
  """Return the phases in their order; one without a name where there are none.

  Args:
    phases: accepted by `check`.
    total_steps: steps of the run.
  """
  ends = {name: x.until or total_steps for name, x in phases.items()}
  made, first_step = [], 0
  for name in sorted(ends, key=lambda name: ends[name]):
    made.append(Stretch(name, first_step, ends[name]))
    first_step = ends[name]
  return made or [Stretch("", 0, total_steps)]


def changed(
  values: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
  """Return the values of a config with a phase's changes.

  Args:
    values: nested fields.
    changes: a part of them, in the same nesting; a source that is None is left
      out.
  """
  made = _merged(values, changes)
  flat = sections.flat(changes)
  for field, follower in _FOLLOWS.items():
    *path, last = follower.split(".")
    section = made
    for part in path:
      section = section[part]
    if field in flat and last in section:
      section[last] = flat[field]
  sources = made["data"]["sources"]
  made["data"]["sources"] = {k: x for k, x in sources.items() if x is not None}
  return made


@checks.collected()
def check(
  phases: Mapping[str, PhaseConfig],
  total_steps: int,
  values: Mapping[str, Any],
) -> None:
  """Raise ValueError for phases that do not fit the steps or the fields.

  Args:
    phases: section `phases` of a config.
    total_steps: steps of the run.
    values: nested fields of the config.
  """
  _check_steps(phases, total_steps)
  known = sections.flat(values)
  for name, phase in phases.items():
    if not _NAME.fullmatch(name):
      checks.refuse(
        "phases must have names of letters, digits and _, a letter first; got"
        f" {name!r}"
      )
    if not 0 < phase.stretch < math.inf:
      checks.refuse(
        f"phases.{name}.stretch must be above 0, and finite; got"
        f" {phase.stretch}"
      )
    fields = sections.flat(phase.changes)
    for field in fields:
      if field not in known and not field.startswith(_SOURCES):
        checks.refuse(
          f"phases.{name}.changes.{field} must be a field of the config; there"
          f" is no field {field}, see configs/base.py"
        )
      elif not any(re.fullmatch(x, field) for x in CHANGEABLE):
        checks.refuse(
          f"phases.{name}.changes.{field} must be a field that can change"
          " within a run (CHANGEABLE in training/phase_config.py); got"
          f" {field}, which holds for all steps"
        )
    first = stretches(phases, total_steps)[0].name
    for field in _SCHEDULE:
      path = f"optimizer.{field}"
      if path in fields and not phase.own_schedule and name != first:
        checks.refuse(
          f"phases.{name}.own_schedule must be True with a change of {path},"
          " which belongs to a schedule from its first step on; got False"
        )


def _check_steps(phases: Mapping[str, PhaseConfig], total_steps: int) -> None:
  """Raise ValueError for phases that do not follow each other to the end."""
  untils = {f"phases.{name}.until": x.until for name, x in phases.items()}
  for field, until in untils.items():
    checks.at_least(field, until, 0)
  last = max(untils, key=lambda field: untils[field] or total_steps)
  if untils[last] not in (0, total_steps):
    checks.refuse(
      f"{last} must be total_steps={total_steps}, or 0 for the last step, as no"
      f" phase follows; got {untils[last]}"
    )
  by_end: dict[int, str] = {}
  for field, until in untils.items():
    end = until or total_steps
    if end in by_end:
      checks.refuse(
        f"{field} must differ from {by_end[end]}: each phase has steps of its"
        f" own; got {until} of total_steps={total_steps}"
      )
    by_end[end] = field


def _merged(
  values: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
  made = dict(values)
  for name, value in changes.items():
    old = values.get(name)
    is_section = isinstance(value, Mapping) and isinstance(old, Mapping)
    made[name] = _merged(old, value) if is_section else value
  return made


def _with_tuples(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {name: _with_tuples(x) for name, x in value.items()}
  if isinstance(value, list | tuple):
    return tuple(_with_tuples(x) for x in value)
  return value
