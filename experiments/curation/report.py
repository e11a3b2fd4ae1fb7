"""Report of the runs: mean and spread of each figure, pairs that arms kept."""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import figure

from experiments.curation import heldout, web_noise
from input_pipeline.storage import uids as uids_lib
from runtime.storage import whole_files

# Arm -> its name, in the order of the tables.
ARMS = {
  "raw": "raw pool",
  "align": "ALIGN",
  "metaclip": "MetaCLIP",
  "dfn": "DFN",
}
# Kinds of pairs whose caption describes the picture.
RIGHT = ("as_is", "head", "tiny", "stretched")

# Arm -> results of the runs of its seeds.
Results = Mapping[str, Sequence[Mapping[str, Any]]]


def write(data: pathlib.Path, out: pathlib.Path) -> str:
  """Write results.json, results.md and results.svg; return the table."""
  results = {arm: _read(arm, out) for arm in ARMS}
  kept = {arm: kept_kinds(arm, data, out) for arm in ARMS if results[arm]}
  numbers = {
    arm: {
      "kept": kept[arm],
      **{name: figures(results[arm], name) for name in heldout.METRICS},
    }
    for arm in kept
  }
  text = json.dumps(numbers, indent=2) + "\n"
  whole_files.write(out / "results.json", text.encode())
  shown = table(results, kept)
  whole_files.write(out / "results.md", shown.encode())
  _draw(results, out / "results.svg")
  return shown


def figures(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
  """Return a figure of METRICS for each seed."""
  return [heldout.metric(run, name) for run in runs]


def spread(values: Sequence[float]) -> str:
  """Return "mean ± standard deviation" over seeds."""
  mean = statistics.mean(values)
  if len(values) < 2:
    return f"{mean:.1f}"
  return f"{mean:.1f} ± {statistics.stdev(values):.1f}"


def table(results: Results, kept: Mapping[str, Mapping[str, int]]) -> str:
  """Return two tables in Markdown: figures, and kept pairs by kind."""
  names = list(heldout.METRICS)
  heads = [
    "trained on",
    "pairs",
    "right",
    "seeds",
    *(heldout.METRICS[n] for n in names),
  ]
  rows = []
  for arm, counts in kept.items():
    num_kept = sum(counts.values())
    right = sum(counts[kind] for kind in RIGHT) / num_kept
    rows.append(
      [ARMS[arm], f"{num_kept:,}", f"{right:.0%}", str(len(results[arm]))]
      + [spread(figures(results[arm], name)) for name in names]
    )
  kinds = list(web_noise.SHARES)
  counted = [
    [ARMS[arm], *(f"{counts[kind]:,}" for kind in kinds)]
    for arm, counts in kept.items()
  ]
  return (
    _markdown(heads, rows) + "\n" + _markdown(["pairs of", *kinds], counted)
  )


def kept_kinds(
  arm: str, data: pathlib.Path, out: pathlib.Path
) -> dict[str, int]:
  """Return an arm's number of pairs of each kind of web_noise.py."""
  kinds = np.load(data / "kinds.npy", allow_pickle=False)
  if arm != "raw":
    path = out / f"curate_{arm}" / "selection.npy"
    selection = np.load(path, allow_pickle=False)
    # The first half of a UID is unique among 160,000 pairs.
    halves = [uids_lib.uid(f"{row:09d}")[0] for row in range(len(kinds))]
    kinds = kinds[np.isin(np.array(halves, "u8"), selection["f0"])]
  counts = np.bincount(kinds, minlength=len(web_noise.SHARES))
  return dict(zip(web_noise.SHARES, counts.tolist(), strict=True))


def _read(arm: str, out: pathlib.Path) -> list[dict[str, Any]]:
  paths = sorted(out.glob(f"{arm}-*/heldout.json"))
  return [json.loads(path.read_text()) for path in paths]


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [heads, ["---"] * len(heads), *rows]
  return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _draw(results: Results, path: pathlib.Path) -> None:
  """Draw each seed as a dot, and the mean of seeds as a bar."""
  arms = [arm for arm in ARMS if results[arm]]
  drawn = figure.Figure(figsize=(13, 2.6), layout="constrained")
  for axes, (name, title) in zip(
    np.atleast_1d(drawn.subplots(1, len(heldout.METRICS))),
    heldout.METRICS.items(),
    strict=True,
  ):
    for x, arm in enumerate(arms):
      values = figures(results[arm], name)
      axes.bar(x, statistics.mean(values), color=f"C{x}", alpha=0.4)
      axes.plot([x] * len(values), values, "o", color=f"C{x}", markersize=4)
    unit = "" if name == heldout.MEDIAN_RANK else ", %"
    axes.set_title(title + unit, fontsize=9)
    axes.set_xticks(range(len(arms)), [ARMS[arm] for arm in arms], fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
  # Reproducible bytes, and text as text instead of paths.
  style = {"svg.hashsalt": "icons", "svg.fonttype": "none"}
  with mpl.rc_context(style):
    drawn.savefig(path, metadata={"Date": None})
