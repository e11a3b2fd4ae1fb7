"""Decisions of the training loop."""

import itertools
import pathlib

import pytest

from runtime import compilation_cache
from runtime.storage import unfinished
from tests import runs
from training import session
from training.run import opened_run, workdir

CONFIG = runs.make_config(
  {
    "total_steps": 12,
    "checkpoint.every_steps": 4,
    "evaluate.every_steps": 3,
  }
)


class _DataError(Exception):
  """Error that a run raises."""


@pytest.fixture
def no_compilation_cache(monkeypatch: pytest.MonkeyPatch) -> None:
  """Leave JAX's settings as they are."""
  monkeypatch.setattr(compilation_cache, "enable", lambda folder: None)


def _fail(folder: pathlib.Path, *, begins: bool = False) -> None:
  with opened_run.opened(CONFIG, folder) as run:
    workdir.write_config(folder, CONFIG)
    if begins:
      run.stop.begin()
    raise _DataError


@pytest.mark.usefixtures("no_compilation_cache")
def test_an_error_before_the_first_step_leaves_the_folder_as_it_was(tmp_path):
  folder = tmp_path / "runs/new"
  with pytest.raises(_DataError):
    _fail(folder)
  assert not list(tmp_path.iterdir())
  folder.mkdir(parents=True)
  (folder / "notes").write_text("kept")
  with pytest.raises(_DataError):
    _fail(folder)
  assert [path.name for path in folder.iterdir()] == ["notes"]
  with opened_run.opened(CONFIG, folder) as run:  # it is free
    assert not run.steps
  assert (folder / workdir.CHECKPOINTS).is_dir()


@pytest.mark.usefixtures("no_compilation_cache")
def test_an_error_of_a_begun_run_leaves_its_files(tmp_path):
  with pytest.raises(_DataError):
    _fail(tmp_path / "run", begins=True)
  names = {path.name for path in (tmp_path / "run").iterdir()}
  assert names == {unfinished.LOCK, workdir.CONFIG, workdir.CHECKPOINTS}


def due(step, *, first_step=0, stopping=False, config=CONFIG):
  return session.due(step, config, first_step=first_step, stopping=stopping)


def test_saves_and_evaluates_by_their_own_periods():
  decisions = [due(step) for step in range(13)]
  assert [n for n, now in enumerate(decisions) if now.save] == [4, 8, 12]
  # The state of the last step is evaluated after the loop.
  assert [n for n, now in enumerate(decisions) if now.evaluate] == [3, 6, 9]
  assert [n for n, now in enumerate(decisions) if now.last] == [12]


def test_the_state_a_run_begins_with_is_not_saved_again():
  assert not due(4, first_step=4).save
  assert due(8, first_step=4).save


@pytest.mark.parametrize("step", [0, 3, 4, 5, 12])
def test_a_stop_saves_and_ends_at_any_step(step):
  now = due(step, stopping=True)
  assert now.save
  assert now.last
  assert not now.evaluate


def test_the_end_of_a_phase_is_saved_and_evaluated():
  """The next phase begins with its checkpoint; the figures are of its size."""
  now = session.due(6, CONFIG, first_step=0, stopping=False, end=6)
  assert now == session.Due(save=True, evaluate=True, last=True)
  now = session.due(5, CONFIG, first_step=0, stopping=False, end=6)
  assert now == session.Due(save=False, evaluate=False, last=False)


def test_the_first_state_of_a_phase_is_not_evaluated_again():
  now = session.due(6, CONFIG, first_step=6, stopping=False, begin=6, end=9)
  assert now == session.Due(save=False, evaluate=False, last=False)


def test_no_evaluation_during_training():
  config = runs.make_config({"evaluate.every_steps": 0, "total_steps": 12})
  assert not any(due(step, config=config).evaluate for step in range(13))


def test_every_run_ends():
  for step, stopping in itertools.product(range(13), (False, True)):
    assert due(step, stopping=stopping).last == (stopping or step == 12)
