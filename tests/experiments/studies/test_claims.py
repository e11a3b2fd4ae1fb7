"""Claims as data: trials of a study, and studies that cannot be used."""

import dataclasses

import pytest

from experiments.studies import claims
from experiments.sweeps import study as study_lib


def _study(**changes):
  fields = {
    "claim": "B is better than a.",
    "source": "arXiv 0000.00000, table 1",
    "arms": (
      claims.Arm("a", {"loss.name": "a"}, group="line", x=1),
      claims.Arm("b", {"loss.name": "b"}, group="line", x=2),
    ),
    "figures": (
      claims.Figure("R@1", "test/R@1", chance=0.1),
      claims.Figure("R@5", "test/R@5"),
    ),
    "comparisons": (claims.Comparison("a", "b"),),
  }
  return claims.Study(**{**fields, **changes})


def test_trials_are_each_arm_with_each_seed():
  assert _study(num_seeds=2).trials() == [
    {"loss.name": "a", "seed": 0},
    {"loss.name": "a", "seed": 1},
    {"loss.name": "b", "seed": 0},
    {"loss.name": "b", "seed": 1},
  ]


def test_a_chain_has_the_seed_of_a_task():
  made = _study(seed="train.seed")
  assert [x["train.seed"] for x in made.trials()] == [0, 1, 2] * 2
  assert "seed" not in made.trials()[0]
  both = _study(seed=("train.seed", "label.seed"))
  assert [x["label.seed"] for x in both.trials()] == [0, 1, 2] * 2
  assert [x["train.seed"] for x in both.trials()] == [0, 1, 2] * 2


def test_a_comparison_is_of_the_first_figure_unless_it_names_others():
  made = _study(
    comparisons=(
      claims.Comparison("a", "b"),
      claims.Comparison("b", "c", ("R@5", "R@1")),
    ),
    arms=(*_study().arms, claims.Arm("c", {})),
  )
  labels = [[x.label for x in made.compared(y)] for y in made.comparisons]
  assert labels == [["R@1"], ["R@1", "R@5"]]
  assert made.num_tests == 3


def test_a_comparison_with_a_base_is_of_two_figures_of_one_arm():
  one = claims.Comparison("a", "a", ("R@5",), base="R@1")
  made = _study(comparisons=(one, claims.Comparison("a", "b")))
  assert [x.label for x in made.compared(one)] == ["R@5"]
  assert made.subtracted(one, made.figures[1]).label == "R@1"
  other = made.comparisons[1]
  assert made.subtracted(other, made.figures[1]).label == "R@5"
  assert made.num_tests == 2


def test_a_study_file_with_a_claim_is_read_by_a_sweep(tmp_path):
  path = tmp_path / "study.py"
  path.write_text(
    "from experiments.studies import claims\n"
    "STUDY = claims.Study(claim='c', source='s', arms=(claims.Arm('a',"
    " {'batch_size': 4}),), figures=(claims.Figure('f', 'f'),))\n"
    "def get_study():\n  return STUDY.trials()\n"
  )
  made, chain = study_lib.load(str(path))
  assert made == [{"batch_size": 4, "seed": x} for x in range(3)]
  assert chain == ()


_A, _B = _study().arms


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"claim": " "}, "claim must be a text"),
    ({"arms": ()}, "arms must be a tuple of Arm"),
    ({"arms": [_A, _B]}, "arms must be a tuple of Arm"),
    ({"figures": ("R@1",)}, "figures must be a tuple of Figure"),
    (
      {"arms": (_A, dataclasses.replace(_B, name="a"))},
      "name in arms must be unique; 'a'",
    ),
    (
      {"arms": (_A, dataclasses.replace(_B, changes=_A.changes))},
      "changes of arms must differ; 'a' and 'b'",
    ),
    (
      {"arms": (_A, claims.Arm("b", {"seed": 1}))},
      "'b' must leave seed to the study",
    ),
    ({"arms": (_A, claims.Arm("b", {"x": {1}}))}, "'b' must be values"),
    ({"arms": (_A, claims.Arm("b", {}, x=1))}, "both group and x"),
    (
      {"arms": (_A, dataclasses.replace(_B, x=1))},
      "group 'line' must differ in x; two have 1",
    ),
    (
      {
        "arms": (dataclasses.replace(_A, x=0), _B),
        "chart": claims.Lines("pairs", is_log=True),
      },
      "x of arm 'a' must be above 0",
    ),
    (
      {"arms": (_A, dataclasses.replace(_B, x=float("nan")))},
      "x of arm 'b' must be finite",
    ),
    (
      {
        "arms": (claims.Arm("a", {}), claims.Arm("b", {"c": 1})),
        "chart": claims.Lines("pairs"),
      },
      "chart=Lines needs arms with group and x",
    ),
    ({"chart": "lines"}, "chart must be Lines or Dots; got 'lines'"),
    (
      {"comparisons": (claims.Comparison("a", "c"),)},
      r"must name arms \(a, b\); got 'c'",
    ),
    ({"comparisons": (claims.Comparison("a", "a"),)}, "of two arms"),
    (
      {"comparisons": (claims.Comparison("a", "b"),) * 2},
      "each pair once; got 'a' and 'b'",
    ),
    (
      {"comparisons": (claims.Comparison("a", "b", ("R@2",)),)},
      r"labels of figures \(R@1, R@5\); got 'R@2'",
    ),
    (
      {"comparisons": (claims.Comparison("a", "b", "R@1"),)},
      "a tuple of labels; got 'R@1'",
    ),
    (
      {"comparisons": (claims.Comparison("a", "a", base="R@2"),)},
      r"base of a comparison must be a label of figures \(R@1, R@5\)",
    ),
    (
      {"comparisons": (claims.Comparison("a", "a", base="R@1"),)},
      r"must be none of its figures \(R@1\); got 'R@1'",
    ),
    (
      {"comparisons": (claims.Comparison("a", "a", ("R@5",), "R@1"),) * 2},
      "each pair once; got 'a' and 'a'",
    ),
    ({"figures": (claims.Figure("f", "f"),) * 2}, "label in figures"),
    ({"figures": (claims.Figure("f", ()),)}, "figure 'f' must be a text or"),
    (
      {"figures": (claims.Figure("f", ("g", "g")),)},
      "name in figure 'f' must be unique; 'g'",
    ),
    (
      {"figures": (claims.Figure("f", ("R@1", "loss")),)},
      "mean of figures that all rise or all fall",
    ),
    (
      {
        "figures": (
          claims.Figure("f", ("g", "h")),
          claims.Figure("k", ("h", "g")),
        )
      },
      "name in figures must be unique; 'g \\+ h'",
    ),
    ({"num_seeds": 1}, "num_seeds must be 2 or more; got 1"),
    ({"num_columns": 0}, "num_columns must be 1 or more; got 0"),
    ({"num_seeds": 3.0}, "num_seeds must be 2 or more; got 3.0"),
    ({"run_minutes": -1}, "run_minutes must be 0 or more; got -1"),
    ({"seed": ""}, "seed must be a text"),
    ({"seed": ()}, "seed must be a text"),
    ({"seed": ("a.seed", 1)}, "seed must be a text"),
    (
      {"seed": ("a.seed", "b.seed"), "arms": (claims.Arm("a", {"b.seed": 1}),)},
      "'a' must leave b.seed to the study",
    ),
  ],
)
def test_a_study_that_cannot_be_used_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    _study(**changes)
