"""Index of all experiments: the table in experiments/README.md.

  python -m experiments.studies.index

Rewritten is the block between <!-- index --> and <!-- /index -->: each study's
claim, what its README says came out, its tests in one line and its sparkline,
from results.json; studies that are not yet run; and experiments without
results.json, by the titles of their READMEs. What a README says came out are
the bold words that begin an item of a list, before the block of the recipe.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from absl import app, flags

from experiments.parts import program
from experiments.recipes import tables as recipe_tables
from experiments.studies import (
  claims,
  drawing,
  marked_text,
  outcomes,
  study_files,
  tables,
)
from runtime import failures
from training.comparison import figures as figures_lib

_FLAGS = flags.FlagValues()
_STUDIES = flags.DEFINE_string(
  "studies",
  "experiments",
  "Folder of the experiments, whose README.md has the index.",
  flag_values=_FLAGS,
)

README = "README.md"
MARK = "index"
_FINDING = re.compile(r"^- \*\*(.+?)\.?\*\*", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Entry:
  """One experiment.

  Attributes:
    name: its folder below that of all experiments.
    title: title of its README.
    study: its claim; None for an experiment without one.
    outcome: its trials; None where it has no results.json.
    findings: what its README says came out, clauses without a full stop.
  """

  name: str
  title: str
  study: claims.Study | None
  outcome: outcomes.Outcome | None
  findings: tuple[str, ...] = ()


def main(argv: Sequence[str]) -> None:
  """Write the index."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  root = pathlib.Path(_STUDIES.value)
  try:
    marked_text.write(root / README, text(root))
  except failures.RunError as error:
    raise app.UsageError(str(error)) from error


def text(root: pathlib.Path) -> str:
  """Return the text of README.md with the index of the folders beside it.

  Raises:
    RunError: README.md lacks the marks, or an experiment cannot be read.
  """
  return marked_text.replaced(root / README, MARK, table(entries(root)))


def entries(root: pathlib.Path) -> list[Entry]:
  """Return all experiments below a folder: those with a claim come first.

  Raises:
    RunError: the folder has none; a README has no title; a study file or its
      results.json cannot be read.
  """
  found = [
    _entry(root, path.parent)
    for path in sorted(root.rglob(README))
    if path.parent != root
  ]
  if not found:
    raise failures.RunError(
      f"--studies={root} must be a folder of experiments, each with {README};"
      " got none"
    )
  return sorted(found, key=lambda entry: entry.study is None)


def table(found: Sequence[Entry]) -> str:
  """Return the index in Markdown: studies with a claim, then the others."""
  studies = [entry for entry in found if entry.study is not None]
  others = [entry for entry in found if entry.study is None]
  parts = []
  if studies:
    heads = ["study", "claim", "what came out", ""]
    parts.append(figures_lib.markdown(heads, [_row(x) for x in studies]))
  if others:
    listed = "\n".join(f"- [{_plain(x.title)}]({_link(x)})" for x in others)
    parts.append(
      "Experiments whose results are in their README alone, without"
      f" {outcomes.JSON}:\n\n{listed}"
    )
  return "\n\n".join(parts)


def result(entry: Entry) -> str:
  """Return a study's tests in one line."""
  if entry.study is None or entry.outcome is None:
    return "not yet run"
  return tables.summary(entry.study, entry.outcome)


def _row(entry: Entry) -> list[str]:
  assert entry.study is not None
  image = ""
  if entry.outcome is not None:
    image = f"![chart of {entry.name}]({entry.name}/{drawing.SPARKLINE})"
  link = f"[{_plain(entry.title)}]({_link(entry)})"
  claim = f"{entry.study.claim} ({entry.study.source})"
  tested = result(entry)
  if entry.findings:
    tested = f"Figures: {tested}"
  came_out = " ".join(f"{x}." for x in (*entry.findings, tested))
  return [link, claim, came_out, image]


def _link(entry: Entry) -> str:
  return f"{entry.name}/{README}"


def _entry(root: pathlib.Path, folder: pathlib.Path) -> Entry:
  study_path = folder / study_files.NAME
  study = study_files.find(study_path) if study_path.is_file() else None
  outcome = None
  if study is not None and (folder / outcomes.JSON).is_file():
    outcome = outcomes.read(study, folder / outcomes.JSON)
  readme = (folder / README).read_text()
  title = re.search(r"^# +(.+?) *$", readme, re.MULTILINE)
  if not title:
    raise failures.RunError(
      f"{folder / README} must have a title, a line '# TITLE'"
    )
  return Entry(
    folder.relative_to(root).as_posix(),
    title[1],
    study,
    outcome,
    () if outcome is None else _findings(readme),
  )


def _findings(readme: str) -> tuple[str, ...]:
  text = readme.partition(recipe_tables.BEGIN)[0]
  return tuple(" ".join(x.split()) for x in _FINDING.findall(text))


def _plain(title: str) -> str:
  return title.replace("[", "\\[").replace("]", "\\]")


if __name__ == "__main__":
  program.run(main, _FLAGS)
