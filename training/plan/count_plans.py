"""Plan of a step whose batches have a drawn number of patches, and its mean.

Each number of data.augmentation.patch_counts is drawn as often, so the mean is
that of their plans.
"""

from collections.abc import Callable, Sequence
from typing import Any

from training import config as config_lib
from training import patch_programs

# Key of the plans by number of patches, beside the fields of their mean.
BY_COUNT = "by_count"
_MEANS = (
  *("step_tflop", "model_tflop", "compiled_tflop", "xla_tflop"),
  *("hbm_gb", "collective_gb", "step_s_bound"),
)


def make(
  config: config_lib.Config,
  make_plan: Callable[[config_lib.Config], dict[str, Any]],
) -> dict[str, Any]:
  """Return the mean of the plans of each number of patches, ready for JSON.

  Args:
    config: checked, with patch_counts.
    make_plan: config of one number -> plan of its step.

  Returns:
    A plan with the memory of the step that needs most, the means of all others,
    and BY_COUNT: {"128": plan, ...}. A mean is None where a plan has no figure.
  """
  by_count = {
    str(count): make_plan(patch_programs.of_count(config, count))
    for count in config.data.augmentation.patch_counts
  }
  plans = [*by_count.values()]
  means = {name: _mean([x[name] for x in plans]) for name in _MEANS}
  seconds, rate, mfu = means["step_s_bound"], None, None
  if seconds:
    rate = config.batch_size / seconds
    busy = [x["mfu_bound"] * x["step_s_bound"] for x in plans]
    mfu = sum(busy) / (len(plans) * seconds)
  by_bound = _by_bound([x["seconds"] for x in plans])
  return {
    **_largest(plans),
    **means,
    "images_per_s_bound": rate,
    "mfu_bound": mfu,
    "seconds": by_bound,
    "bound": max(by_bound, key=by_bound.__getitem__) if by_bound else None,
    "compile_s": sum(x["compile_s"] for x in plans),
    BY_COUNT: by_count,
  }


def _largest(plans: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Return the first plan that does not fit, or that of the highest peak."""
  for plan in plans:
    if not plan["fits"]:
      return plan
  return max(plans, key=lambda plan: plan["peak_gib"])


def _mean(values: Sequence[float | None]) -> float | None:
  known = [x for x in values if x is not None]
  return sum(known) / len(values) if len(known) == len(values) else None


def _by_bound(
  values: Sequence[dict[str, float] | None],
) -> dict[str, float] | None:
  """Return the mean seconds of each bound."""
  known = [x for x in values if x is not None]
  if len(known) < len(values):
    return None
  return {name: sum(x[name] for x in known) / len(known) for name in known[0]}
