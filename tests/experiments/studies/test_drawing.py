"""Charts of studies: all of a study's numbers and names are in the SVG."""

import dataclasses
import re

import pytest
from matplotlib import figure

from experiments.studies import claims, drawing, outcomes, tables
from tests.experiments.studies import synthetic


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
  root = tmp_path_factory.mktemp("sweep")
  synthetic.write_sweep(root)
  return outcomes.from_sweep(synthetic.make(), root)


def _texts(svg):
  return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_lines_have_groups_abscissas_and_chance(outcome):
  svg = drawing.chart(synthetic.make(), outcome)
  texts = _texts(svg)
  for text in ("loss a", "loss b", "chance", "pairs in a batch", "16", "64"):
    assert text in texts, text
  assert "rank (less is better)" in texts
  assert "R@1" in texts
  # Colours of a file are those of page.css, and none is left to a page.
  assert "#28608f" in svg
  assert "#040404" not in svg


def test_an_arm_without_x_is_a_level(outcome):
  made = synthetic.make()
  last = claims.Arm("no batches", made.arms[-1].changes)
  study = synthetic.make(arms=(*made.arms[:-1], last), comparisons=())
  rows = [
    {**row, "arm": "no batches"} if row["arm"] == "b, 64" else row
    for row in outcome["trials"]
  ]
  svg = drawing.chart(study, {**outcome, "trials": rows})
  assert "no batches" in _texts(svg)


def _abscissas(study, outcome):
  """Return label of a line -> abscissas of its first panel, as drawn."""
  canvas = figure.Figure()
  plot = canvas.subplots()
  drawing.draw_lines(plot, study, study.chart, outcome, study.figures[0])
  return {
    x.get_label(): x.lines[0].get_xdata().tolist() for x in plot.containers
  }


def test_arms_stand_at_their_abscissas(outcome):
  """Groups are moved aside where they share one, by as much to each side."""
  made = synthetic.make()
  shared = _abscissas(made, outcome)
  for a, b, x in zip(*shared.values(), (16, 64), strict=True):
    assert a < x < b
    assert a * b == pytest.approx(x * x)  # the axis is logarithmic
  apart = synthetic.make(
    arms=tuple(
      dataclasses.replace(arm, x=number + 1.0)
      for number, arm in enumerate(made.arms)
    )
  )
  assert _abscissas(apart, outcome) == {
    "loss a": pytest.approx([1, 2]),
    "loss b": pytest.approx([3, 4]),
  }


def test_dots_have_a_row_for_each_arm(outcome):
  study = synthetic.make(chart=claims.Dots())
  texts = _texts(drawing.chart(study, outcome))
  # Once: panels of a row share their names.
  assert [texts.count(arm.name) for arm in study.arms] == [1, 1, 1, 1]


def test_columns_are_drawn_and_all_figures_are_in_tables(outcome):
  name = synthetic.FIGURES[0].name
  figures = tuple(
    claims.Figure(f"figure {number}", f"{name}{number}", chance=number / 100)
    for number in range(8)
  )
  trials = [
    {**row, "figures": {x.name: row["figures"][name] for x in figures}}
    for row in outcome["trials"]
  ]
  study = synthetic.make(figures=figures, comparisons=())
  made = {**outcome, "trials": trials}
  texts = _texts(drawing.chart(study, made))
  assert [x for x in texts if x.startswith("figure")] == [
    f"figure {number}" for number in range(6)
  ]
  text = tables.block(study, made, "results.svg")
  assert "| figure 4 | figure 5 | minutes |" in text
  assert "| figure 7 | 0.070 | 0.120 ± 0.020 | " in text
  two = synthetic.make(figures=figures, comparisons=(), num_columns=2)
  texts = _texts(drawing.chart(two, made))
  assert [x for x in texts if x.startswith("figure")] == [
    "figure 0",
    "figure 1",
  ]
  text = tables.block(two, made, "results.svg")
  assert "| figure 0 | figure 1 | minutes |" in text
  assert "| figure 2 | 0.020 | " in text


def test_a_chart_of_a_page_has_the_colours_of_the_page(outcome):
  svg = drawing.page_chart(synthetic.make(), outcome, "a")
  assert "var(--series-1)" in svg
  assert "#28608f" not in svg
  assert svg == drawing.page_chart(synthetic.make(), outcome, "a")
  ids = re.findall(r'clip-path="url\(#(\w+)\)"', svg)
  other = drawing.page_chart(synthetic.make(), outcome, "b")
  assert ids
  assert not set(ids) & set(re.findall(r'id="(\w+)"', other))


@pytest.mark.parametrize(
  "chart", [claims.Lines("pairs"), claims.Dots()], ids=["lines", "dots"]
)
def test_a_sparkline_is_small_and_without_text(outcome, chart):
  svg = drawing.sparkline(synthetic.make(chart=chart), outcome)
  assert not _texts(svg)
  assert len(svg) < 16_000
