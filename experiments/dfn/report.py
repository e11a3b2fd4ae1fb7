"""Report on the filters and selections of DFN's study.

  python -m experiments.dfn.report --data=cache/dfn_icons

Written beside this file: filters.json, a copy of what prepare.py measured
(quality.py); the chart filters.svg; and the block of README.md between
<!-- filters --> and <!-- /filters -->. Without --data, chart and block are made
from filters.json alone. Figures of the models that were trained on the
selections come from results.json, where it is there.
"""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from absl import app, flags
from matplotlib import axes, figure

from experiments.curation import web_noise
from experiments.dfn import quality, selections
from experiments.dfn import study as study_lib
from experiments.parts import program
from experiments.studies import drawing, marked_text, outcomes
from experiments.studies import report as study_report
from runtime import failures
from runtime.pages import chart_style
from runtime.storage import whole_files
from training.comparison import figures as figures_lib

MARK, CHART = "filters", "filters.svg"
_FOLDER = pathlib.Path(__file__).parent
_FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string(
  "data",
  "",
  "Folder of prepare.py; without it, filters.json beside this file is read.",
  flag_values=_FLAGS,
)

_RETRIEVAL, _, _CLASSES, _ = quality.FIGURES
# Selections without a filter, and the arms that are trained on them.
_OTHERS = {
  "raw": study_lib.RAW,
  selections.RANDOM: study_lib.RANDOM,
  "metaclip": study_lib.METACLIP,
  "metaclip_dfn": study_lib.BOTH,
}
ARMS = {
  **{f"dfn_{name}": study_lib.arm_of(name) for name in selections.FILTERS},
  **_OTHERS,
}


def main(argv: Sequence[str]) -> None:
  """Write the report."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  try:
    print(write(_FOLDER, _DATA.value))
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error


def write(folder: pathlib.Path, data: str = "") -> str:
  """Write the report into a study's folder; return the block of its README.

  Args:
    folder: folder with README.md, and results.json where the study was run.
    data: folder of prepare.py; "" to read filters.json in `folder`.

  Raises:
    RunError: filters.json, results.json or README cannot be used; nothing is
      written.
  """
  facts = read(pathlib.Path(data) if data else folder)
  trained = None
  if (folder / outcomes.JSON).exists():
    trained = outcomes.read(study_lib.STUDY, folder / outcomes.JSON)
  text = block(facts)
  readme = marked_text.replaced(folder / study_report.README, MARK, text)
  svg = chart(facts, trained)
  if data:
    kept = json.dumps(facts, indent=1) + "\n"
    whole_files.write(folder / quality.JSON, kept.encode())
  whole_files.write(folder / CHART, svg.encode())
  marked_text.write(folder / study_report.README, readme)
  return text


def read(folder: pathlib.Path) -> dict[str, Any]:
  """Return what filters.json of a folder has.

  Raises:
    RunError: it is missing, no JSON, or not of these filters and selections.
  """
  path = folder / quality.JSON
  facts = outcomes.read_json(
    path, f"{path} is missing; python -m experiments.dfn.prepare writes it"
  )
  for part, names in (("filters", selections.FILTERS), ("selections", ARMS)):
    got = facts.get(part) if isinstance(facts, dict) else None
    if not isinstance(got, dict) or {*got} != {*names}:
      raise failures.RunError(
        f"{path} must have the {part} {', '.join(names)}; got"
        f" {', '.join(got) if isinstance(got, dict) else got}"
      )
  return facts


def block(facts: Mapping[str, Any]) -> str:
  """Return chart and tables of filters and selections as Markdown."""
  rows = []
  for name, row in facts["filters"].items():
    own = row["figures"]
    rows.append(
      (
        study_lib.arm_of(name),
        f"{row['right']:.1%}",
        f"{row['num_examples']:,}",
        *(f"{own[figure]:.3f}" for figure in (_RETRIEVAL, _CLASSES)),
        *(f"{row[figure]:.3f}" for figure in ("auc", "auc_swapped")),
        f"{facts['selections'][f'dfn_{name}']['right']:.1%}",
      )
    )
  filters = figures_lib.markdown(
    [
      "filter of",
      "right among its pairs",
      "pairs seen",
      "its R@10, image to text",
      "its zero-shot top-1",
      "AUC, right against wrong",
      "AUC, right against swapped",
      "right among what it selects",
    ],
    rows,
  )
  kinds = list(web_noise.SHARES)
  selected = figures_lib.markdown(
    ["selection of", "pairs", "right", *kinds],
    [
      (
        ARMS[name],
        f"{row['pairs']:,}",
        f"{row['right']:.1%}",
        *(f"{row['kinds'][kind]:,}" for kind in kinds),
      )
      for name, row in facts["selections"].items()
    ],
  )
  ts = ", ".join(
    f"{row['t']} ({ARMS[name]})"
    for name, row in facts["selections"].items()
    if "t" in row
  )
  head, _, changes = facts["commit"].partition("+")
  commit = f"{head[:12] or 'unknown'}{' with changes' if changes else ''}"
  return (
    f"![quality of filters and selections over purity]({CHART})\n\n{filters}"
    f"\n\n{selected}\n\nMetaCLIP's t: {ts}. Commit {commit}."
  )


def chart(
  facts: Mapping[str, Any], trained: outcomes.Outcome | None = None
) -> str:
  """Return the chart as a file's text.

  Drawn over the share of a filter's pairs that are right: what the filter is as
  a model, how it tells right from wrong, what it selects and, where there are
  results, the models trained on its selections.
  """
  panels = [
    ("R@10 of the filter", lambda row, _: row["figures"][_RETRIEVAL]),
    ("AUC of the filter", lambda row, _: row["auc"]),
    ("right among selected", lambda _, name: _right(facts, name)),
  ]
  with mpl.rc_context(chart_style.STYLE):
    canvas = figure.Figure(figsize=(9.2, 6.4), layout="constrained")
    plots = canvas.subplots(2, 2).flat
    for plot, (title, value) in zip(plots, panels, strict=False):
      _draw(
        plot,
        title,
        {name: [value(row, name)] for name, row in facts["filters"].items()},
        facts,
      )
    last = plots[-1]
    if trained is None:
      last.set_visible(False)
    else:
      _draw_trained(last, facts, trained)
    canvas.legend(
      *plots[0].get_legend_handles_labels(),
      loc="outside lower left",
      ncols=2,
    )
  return drawing.file_text(canvas)


def _draw_trained(
  plot: axes.Axes, facts: Mapping[str, Any], trained: outcomes.Outcome
) -> None:
  shown = study_lib.STUDY.figures[0]
  values = {
    name: list(
      outcomes.values(
        trained, study_lib.STUDY.arm(study_lib.arm_of(name)), shown
      ).values()
    )
    for name in selections.FILTERS
  }
  _draw(plot, f"{shown.label}, trained on it", values, facts)


def _draw(
  plot: axes.Axes,
  title: str,
  values: Mapping[str, Sequence[float]],
  facts: Mapping[str, Any],
) -> None:
  """Draw filters of the common length as a line, the other one as a point."""
  lengths = {x.num_examples for x in selections.FILTERS.values()}
  for number, length in enumerate(sorted(lengths)):
    names = [
      x for x, y in selections.FILTERS.items() if y.num_examples == length
    ]
    plot.errorbar(
      [100 * facts["filters"][name]["right"] for name in names],
      [statistics.fmean(values[name]) for name in names],
      yerr=[
        statistics.stdev(values[name]) if len(values[name]) > 1 else 0.0
        for name in names
      ],
      color=chart_style.SERIES[number],
      marker="os"[number],
      markersize=5,
      capsize=3,
      label=f"filters that saw {length:,} pairs",
    )
  plot.set_title(title, loc="left", size=11, color=chart_style.INK)
  plot.set_xlabel("right pairs among those of the filter, %")


def _right(facts: Mapping[str, Any], name: str) -> float:
  return facts["selections"][f"dfn_{name}"]["right"]


if __name__ == "__main__":
  program.run(main, _FLAGS)
