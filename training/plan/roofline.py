"""Roofline of a step: the least time that its work can take on a chip."""

from typing import Any

from training.plan import chips


def make(
  chip: chips.Chip,
  *,
  num_chips: int,
  batch_size: int,
  chip_flops: float,
  model_flops: float,
  hbm_bytes: float,
  ici_bytes: float,
  dcn_bytes: float,
) -> dict[str, Any]:
  """Return the roofline of one step, as fields of a plan.

  "seconds" maps "compute", "hbm", "ici" and, if known, "dcn" to the time of the
  step if it needed no other resource; "bound" is the key of the longest time.
  The bounds assume full overlap and every resource at its peak rate.
  "mfu_bound" is the share of the chips' peak that the model's own arithmetic
  (no recomputation) can reach.

  Args:
    chip: kind of all chips.
    num_chips: number of chips in all slices.
    batch_size: images a step over all chips.
    chip_flops: FLOPs of one chip, recomputation included.
    model_flops: FLOPs of the model over all chips, without recomputation.
    hbm_bytes: bytes that one chip reads and writes.
    ici_bytes: bytes that one chip sends within its slice.
    dcn_bytes: bytes that one chip sends to other slices.
  """
  seconds = {
    "compute": chip_flops / (chip.peak_gflops * 1e9),
    "hbm": hbm_bytes / (chip.hbm_gb_s * 1e9),
    "ici": ici_bytes / (chip.ici_gb_s * 1e9),
  }
  if chip.dcn_gb_s is not None and dcn_bytes:
    seconds["dcn"] = dcn_bytes / (chip.dcn_gb_s * 1e9)
  bound = max(seconds, key=lambda name: seconds[name])
  step_seconds = seconds[bound]
  return {
    "seconds": seconds,
    "bound": bound,
    "step_s_bound": step_seconds,
    "images_per_s_bound": batch_size / step_seconds,
    "mfu_bound": model_flops
    / (step_seconds * num_chips * chip.peak_gflops * 1e9),
  }
