"""Programs of a training step by the number of patches of a batch.

The batches of NaFlex have the number of patches that was drawn for each
(data.augmentation.patch_counts), and each number has a program of its own. All
are compiled before the first step, so that a program that does not fit in
memory ends the run there. They share state and optimizer: a tower's parameters
do not depend on the number of patches.

SigLIP 2 (arXiv 2502.14786, section 2.4.2) halves the batch at the largest
number, and doubles the steps. Here such a batch has num_largest_updates
updates, each of its share of the rows, within one step of the run: the order of
examples, their number and the schedule are those of a run without. The learning
rate of these updates is that of the step, and Adam counts each of them; both
are ours.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from training import config as config_lib
from training import metrics, train_step
from training import schedule as schedule_lib


def of_count(config: config_lib.Config, count: int) -> config_lib.Config:
  """Return the config of the batches that have `count` patches an image.

  Args:
    config: config with patch_counts.
    count: one of them.
  """
  augmentation = config.data.augmentation
  is_largest = count == augmentation.patch_counts[-1]
  augmentation = dataclasses.replace(augmentation, patch_counts=(count,))
  return dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, augmentation=augmentation),
    num_largest_updates=config.num_largest_updates if is_largest else 1,
  )


def make(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  *,
  span: schedule_lib.Span | None = None,
) -> dict[int, train_step.StepProgram]:
  """Return the programs of a config by number of patches; {} without.

  Args:
    config: checked.
    mesh: mesh of the run.
    span: steps of the schedule of the learning rate; None for all steps.
  """
  return {
    count: train_step.make(of_count(config, count), mesh, span=span)
    for count in config.data.augmentation.patch_counts
  }


def compile_with_facts(
  programs: Mapping[int, train_step.StepProgram], mesh: jax.sharding.Mesh
) -> tuple[Callable[..., Any], dict[str, float]]:
  """Compile all programs; return one step, and figures of all.

  The step takes the program of its batch's number of patches. The time is that
  of all, FLOPs are their mean, as each number is drawn as often, and memory is
  the largest. "compile/step_gflop_N" has the FLOPs of N patches.

  Args:
    programs: result of `make`, not empty.
    mesh: mesh of the run.
  """
  steps, all_facts = {}, {}
  for count, program in programs.items():
    metrics.say(f"Batches of {count:,} patches an image:")
    steps[count], all_facts[count] = train_step.compile_with_facts(
      program, mesh
    )
  found = [*all_facts.values()]
  facts = {name: max(facts[name] for facts in found) for name in found[0]}
  facts["compile/seconds"] = sum(x["compile/seconds"] for x in found)
  gflops = {n: x["compile/step_gflop"] for n, x in all_facts.items()}
  facts["compile/step_gflop"] = sum(gflops.values()) / len(gflops)
  facts |= {f"compile/step_gflop_{n}": x for n, x in gflops.items()}

  def step(state: Any, batch: Any) -> train_step.Stepped:
    return steps[batch.images.patches_bNP.shape[1]](state, batch)

  return step, facts
