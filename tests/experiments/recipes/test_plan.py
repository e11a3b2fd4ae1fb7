"""Program that makes plans, resumes, and compares them with the code."""

import dataclasses
import re

import pytest

from experiments.recipes import digests, plan, plans, recipe, recipes, tables
from runtime import failures
from tests.experiments.recipes import test_plans

TINY = recipe.Recipe(
  name="tiny",
  folder="tiny",
  module="clip",
  variant="mini",
  topology="v5e:2x2",
  pairs=1e6,
  pairs_source="a test",
  expected="nothing",
  hardware="none",
)
NOW = {"programs": "a", "slice": "b", "counting": "c", "config": "d"}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
  monkeypatch.setattr(plans, "FOLDER", tmp_path)
  monkeypatch.setattr(plan, "ROOT", tmp_path)
  monkeypatch.setattr(recipes, "RECIPES", {"tiny": TINY})
  monkeypatch.setattr(plan, "_digests_of", lambda recipe, programs=True: NOW)
  versions = {"jax": "1", "jaxlib": "1", "libtpu": "1"}
  monkeypatch.setattr(digests, "compilers", lambda: versions)
  monkeypatch.setattr(digests, "counting", lambda: "c")
  calls = []

  def planned(recipe, minutes):
    calls.append(recipe.name)
    return test_plans._step(), ""

  monkeypatch.setattr(plan, "planned", planned)
  return calls


@pytest.mark.parametrize(
  ("old", "reason"),
  [
    (None, "no plan yet"),
    ({"compilers": {"jax": "1"}, "digests": NOW}, ""),
    ({"compilers": {"jax": "1"}, "digests": NOW | {"config": "e"}}, ""),
    ({"compilers": {"jax": "2"}, "digests": NOW}, "planned by .*'2'.*'1'.*"),
    (
      {"compilers": {"jax": "1"}, "digests": NOW | {"programs": "e"}},
      "programs changed",
    ),
    (
      {"compilers": {"jax": "1"}, "digests": NOW | {"counting": "e"}},
      "counting changed",
    ),
  ],
)
def test_why_stale(old, reason):
  assert re.fullmatch(reason, plan.why_stale(old, NOW, {"jax": "1"}))


def test_planned_once(tiny, tmp_path, capsys):
  assert plan.make([TINY], 1) == []
  assert plan.make([TINY], 1) == []
  assert tiny == ["tiny"]
  record = plans.read(tmp_path, "tiny")
  assert record["digests"] == NOW
  assert record["compilers"]["libtpu"] == "1"
  assert record["plan"] == test_plans._step()
  assert "tiny: as planned" in capsys.readouterr().out


def test_digests_of_a_plan_that_holds_are_refreshed(tiny, tmp_path):
  plan.make([TINY], 1)
  record = plans.read(tmp_path, "tiny")
  plans.write(tmp_path, record | {"digests": NOW | {"config": "old"}})
  assert plan.make([TINY], 1) == []
  assert tiny == ["tiny"]
  assert plans.read(tmp_path, "tiny") == record


def test_one_that_fails_is_left_out(tiny, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(plan, "planned", lambda *_: (None, "took too long"))
  assert plan.make([TINY], 1) == ["tiny"]
  assert plans.read(tmp_path, "tiny") is None
  assert "tiny: took too long" in capsys.readouterr().out


def test_no_compiler(tiny, monkeypatch):
  monkeypatch.setattr(digests, "compilers", lambda: {"jax": "1"})
  with pytest.raises(failures.RunError, match="requirements-tpu.txt"):
    plan.make([TINY], 1)


def test_check(tiny, monkeypatch, tmp_path, capsys):
  assert plan.check([TINY], 1, 5) == 1  # no README
  tables.write(tmp_path / "experiments", [TINY], {"tiny": None})
  assert plan.check([TINY], 1, 5) == 0
  assert "not yet planned: tiny" in capsys.readouterr().out
  plan.make([TINY], 1)
  records = {"tiny": plans.read(tmp_path, "tiny")}
  assert plan.check([TINY], 0, 5) == 1
  assert "its section is not that" in capsys.readouterr().out
  tables.write(tmp_path / "experiments", [TINY], records)
  assert plan.check([TINY], 1, 5) == 0
  assert tiny == ["tiny", "tiny"]
  assert "1 plans hold" in capsys.readouterr().out
  # The compiler gives another figure.
  other = test_plans._step(needs_gib=4.0)
  monkeypatch.setattr(plan, "planned", lambda *_: (other, ""))
  assert plan.check([TINY], 0, 5) == 0
  assert plan.check([TINY], 1, 5) == 1
  out = capsys.readouterr().out
  assert "tiny: memory_gib was 3.0, is 4.0" in out
  assert "python -m experiments.recipes.plan" in out


def test_check_of_changed_programs(tiny, monkeypatch, tmp_path, capsys):
  plan.make([TINY], 1)
  records = {"tiny": plans.read(tmp_path, "tiny")}
  tables.write(tmp_path / "experiments", [TINY], records)
  now = NOW | {"programs": "z"}
  monkeypatch.setattr(plan, "_digests_of", lambda recipe, programs=True: now)
  assert plan.check([TINY], 0, 5) == 1
  assert "tiny: programs changed" in capsys.readouterr().out


def test_check_by_another_compiler_compiles_nothing(
  tiny, monkeypatch, tmp_path, capsys
):
  plan.make([TINY], 1)
  records = {"tiny": plans.read(tmp_path, "tiny")}
  tables.write(tmp_path / "experiments", [TINY], records)
  monkeypatch.setattr(digests, "compilers", lambda: {"jax": "2"})
  assert plan.check([TINY], 1, 5) == 0
  assert tiny == ["tiny"]
  assert "planned by another compiler" in capsys.readouterr().out


def test_errors_of_main_are_reported():
  wrong = dataclasses.replace(TINY, topology="cpu:2", changes={"batch_size": 3})
  got, error = plan.planned(wrong, 5)
  assert got is None
  assert error.startswith("main.py ended with 1: ")
  assert "batch_size" in error


@pytest.mark.slow
def test_a_plan_by_main():
  tiny = dataclasses.replace(TINY, topology="cpu:2")
  got, error = plan.planned(tiny, 5)
  assert error == ""
  assert got["chips"] == 2
  assert got["fits"] is True
  # No figures are published for simulated devices.
  assert plans.figures(tiny, got)["chip_hours_bound"] is None


def test_time_limit():
  got, error = plan.planned(TINY, 0.001)
  assert got is None
  assert error == "not compiled within 0.001 minutes"
