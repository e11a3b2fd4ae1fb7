"""Final figures of a run, and of runs that differ in their seed alone."""

import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators import suite
from runtime.storage import jsonl
from training.run import workdir

LOSS = "train/loss"
SEED = "seed"
# Ends of names that tables show first.
_HEADLINES = ("R@1", "top_1", "mean_per_class", "accuracy", "mAP")
# Figures of which less is better.
_FALLING = ("loss", "median_rank", "mean_rank", "ece", "perplexity", "error")
# Part of a run's steps that its last loss is averaged over.
_LAST_PART = 0.1


def read(folder: pathlib.Path) -> dict[str, float]:
  """Return name -> final figure of a run's or an evaluation's folder.

  They are those of results.json, and otherwise the last ones of metrics.jsonl;
  "train/loss" is the mean of the last tenth of the steps.
  """
  lines = jsonl.read(folder / workdir.METRICS)
  figures = at_step(lines, max((x["step"] for x in lines), default=0))
  path = folder / workdir.RESULTS
  if path.exists():
    try:
      results = json.loads(path.read_text())
      figures |= suite.scalars(results)
    except (ValueError, AttributeError) as error:
      raise ValueError(f"{path} must be results as JSON; {error}") from error
  return {k: v for k, v in figures.items() if math.isfinite(v)}


def at_step(lines: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
  """Return the figures of a run as they were at a step.

  Args:
    lines: lines of metrics.jsonl.
    step: those of later steps do not count.
  """
  figures: dict[str, float] = {}
  losses: dict[int, float] = {}
  for line in lines:
    if line["step"] > step:
      continue
    for name, value in line.items():
      if not isinstance(value, int | float) or name == "step":
        continue
      if name == LOSS:
        losses[line["step"]] = float(value)
      if name.split("/")[0] not in ("train", "compile", "time", "data"):
        figures[name] = float(value)
  if losses:
    first = (1 - _LAST_PART) * max(losses)
    last = [value for at, value in losses.items() if at > first]
    figures = {LOSS: statistics.fmean(last)} | figures
  return figures


def rises(name: str) -> bool:
  """Return whether more of a figure is better."""
  return not name.rpartition("/")[2].endswith(_FALLING)


def headlines(names: Sequence[str], most: int) -> list[str]:
  """Return the names that a table of `most` columns shows."""
  first = [
    name
    for name in names
    if name.endswith(_HEADLINES) and "/languages/" not in name
  ]
  rest = [name for name in names if name not in first and name != LOSS]
  loss = [LOSS] if LOSS in names else []
  return (first + rest)[: most - len(loss)] + loss


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
  """Return mean, sample standard deviation (None for one value), and n.

  >>> spread([1.0, 3.0])
  {'mean': 2.0, 'std': 1.4142135623730951, 'n': 2}
  >>> spread([0.7 / 1423] * 3)["std"]
  0.0
  """
  std = float(np.std(values, ddof=1)) if len(values) > 1 else None
  if std is not None and len(set(values)) == 1:
    std = 0.0  # not the rounding of the mean
  return {"mean": float(np.mean(values)), "std": std, "n": len(values)}


def shown(figure: Mapping[str, Any] | None) -> str:
  """Return a figure of `spread` for a table.

  >>> shown({"mean": 0.4123, "std": 0.01, "n": 3})
  '0.412 ± 0.010 (3)'
  """
  if figure is None:
    return ""
  mean, std = figure["mean"], figure["std"]
  if std is None:
    return number(mean)
  text = f"{std:.3f}" if _is_plain(mean) else number(std)
  return f"{number(mean)} ± {text} ({figure['n']})"


def number(value: float | None) -> str:
  """Return a figure with its significant digits, "" for None."""
  if value is None:
    return ""
  return f"{value:.3f}" if _is_plain(value) else f"{value:.4g}"


def p_value(p: float | None) -> str:
  """Return a p-value for a table, "" for None."""
  if p is None:
    return ""
  return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _is_plain(value: float) -> bool:
  return value == 0 or 0.001 <= abs(value) < 10


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  """Return a table in Markdown."""

  def line(cells: Sequence[Any]) -> str:
    texts = (str(cell).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(texts) + " |"

  return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def grouped(
  rows: Sequence[Mapping[str, Any]], seeds: Sequence[str] = (SEED,)
) -> list[dict[str, Any]]:
  """Return groups of rows that differ in their seeds alone.

  Args:
    rows: each with "fields" and "figures".
    seeds: names of fields that are seeds.

  Returns:
    groups with "fields", without the seeds; "members", numbers of rows; and
    "figures", name -> `spread`, in the order of the rows.
  """
  groups: dict[str, dict[str, Any]] = {}
  for number_, row in enumerate(rows):
    fields = {k: v for k, v in row["fields"].items() if k not in seeds}
    key = json.dumps(fields, sort_keys=True, default=str)
    group = groups.setdefault(key, {"fields": fields, "members": []})
    group["members"].append(number_)
  for group in groups.values():
    members = [rows[i]["figures"] for i in group["members"]]
    names = dict.fromkeys(name for figures in members for name in figures)
    group["figures"] = {
      name: spread([figures[name] for figures in members if name in figures])
      for name in names
    }
  return list(groups.values())
