"""Page of all studies: one file with their charts, without a script."""

import functools
import pathlib

import jinja2

from experiments.studies import drawing, index, outcomes, significance, tables
from runtime.pages import page
from runtime.storage import bucket_path, whole_files
from training.comparison import figures as figures_lib

HTML = "studies.html"
MARKDOWN = "studies.md"


def run(studies: str, out: str = "") -> int:
  """Print the index of studies; write it, and its page, into a folder.

  Args:
    studies: folder of the experiments.
    out: folder for studies.html and studies.md; "" writes no file.

  Raises:
    RunError: an experiment cannot be read; nothing is written.
  """
  found = index.entries(pathlib.Path(studies))
  text = index.table(found)
  if out:
    html = render(found)
    folder = bucket_path.make(out)
    folder.mkdir(parents=True, exist_ok=True)
    whole_files.write(folder / HTML, html.encode())
    whole_files.write(folder / MARKDOWN, f"{text}\n".encode())
  print(text)
  return 0


def render(found: list[index.Entry]) -> str:
  """Return the page of experiments."""
  studies = [entry for entry in found if entry.study is not None]
  return _template().render(
    studies=[_shown(number, x) for number, x in enumerate(studies)],
    others=[entry for entry in found if entry.study is None],
    num_run=sum(entry.outcome is not None for entry in studies),
    results=outcomes.JSON,
  )


def _shown(number: int, entry: index.Entry) -> dict[str, object]:
  """Return what the template shows of a study."""
  study, outcome = entry.study, entry.outcome
  assert study is not None
  shown: dict[str, object] = {
    "name": entry.name,
    "title": entry.title,
    "claim": study.claim,
    "source": study.source,
    "findings": entry.findings,
    "result": index.result(entry),
    "is_run": outcome is not None,
  }
  if outcome is not None:
    shown |= {
      "chart": drawing.page_chart(study, outcome, f"study-{number}"),
      "figures": [tables.titled(x) for x in tables.figure_columns(study)],
      "arms": tables.arm_rows(study, outcome),
      "names": [arm.name for arm in study.arms],
      "further": tables.further_rows(study, outcome),
      "tests": significance.tests(study, outcome),
      "provenance": tables.provenance(outcome),
    }
  return shown


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("studies.html.jinja"),
    {
      "signed": tables.signed,
      "p_value": lambda p: figures_lib.p_value(p) or "none",
    },
  )
