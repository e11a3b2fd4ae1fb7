"""Style of the charts on HTML pages: SVG in the colours of page.css."""

import dataclasses
import io
import re

import matplotlib as mpl
from matplotlib import figure

# Colours that matplotlib draws with, each replaced by a CSS variable of the
# page; the values only have to differ from each other.
INK, FAINT, _GRID = "#010101", "#020202", "#030303"
SERIES = ("#040404", "#050505", "#060606", "#070707")
_VARIABLES = {
  INK: "var(--ink)",
  FAINT: "var(--faint)",
  _GRID: "var(--line)",
} | {color: f"var(--series-{i + 1})" for i, color in enumerate(SERIES)}

STYLE = {
  "axes.edgecolor": FAINT,
  "axes.grid": True,
  "axes.grid.axis": "y",
  "axes.labelcolor": FAINT,
  "axes.labelsize": 11,
  "axes.spines.left": False,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "grid.color": _GRID,
  "legend.fontsize": 11,
  "legend.frameon": False,
  "legend.labelcolor": INK,
  "lines.linewidth": 1.8,
  "svg.fonttype": "none",  # keeps text as text, in the page's font and colours
  "text.color": INK,
  "xtick.color": FAINT,
  "xtick.labelsize": 11,
  "ytick.color": FAINT,
  "ytick.labelsize": 11,
  "ytick.left": False,
  "ytick.minor.left": False,
}

# Width of a figure, in inches of 72 units.
WIDTH = 6.4


@dataclasses.dataclass(frozen=True)
class Chart:
  """A drawing with its title and a line below it."""

  title: str
  svg: str
  note: str


def svg(canvas: figure.Figure, salt: str) -> str:
  """Return a drawing for a page; `salt` differs between its charts."""
  buffer = io.StringIO()
  # The salt makes ids the same in each run and different in each chart.
  with mpl.rc_context({"svg.hashsalt": salt}):
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    canvas.savefig(buffer, format="svg", transparent=True, metadata=nothing)
  text = buffer.getvalue()
  text = text[text.index("<svg") :]
  # HTML needs no namespaces, and the page sets the size.
  head, body = text.split(">", 1)
  head = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
  # A style element would apply to the whole page; the page has these rules.
  body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
  for color, variable in _VARIABLES.items():
    body = body.replace(color, variable)
  return f"{head}>{body}"
