"""Help by task, and flags that a task does not use."""

import subprocess
import sys

import pytest
from absl import app, flags

import tasks
from tasks import task_help
from tests import runs


def _main(*args: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-X", "importtime", "main.py", *args],
    capture_output=True,
    text=True,
    cwd=runs.ROOT,
    timeout=60,
  )


def test_help_has_a_line_for_each_task_and_imports_no_jax():
  result = _main("--help")
  assert result.returncode == 0
  for name, task in tasks.TASKS.items():
    assert task.__doc__
    line = task.__doc__.partition("\n")[0]
    assert any(
      text.split() == [name, *line.split()]
      for text in result.stdout.splitlines()
    )
  assert "| jax\n" not in result.stderr
  assert "absl.flags" in result.stderr  # import times are printed


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", tasks.TASKS)
def test_help_of_a_task_lists_its_flags_alone(name, order, capsys):
  argv = ["main.py", *[f"--task={name}", "--help"][::order]]
  with pytest.raises(SystemExit) as stopped:
    task_help.print_if_asked(argv, tasks.TASKS, "")
  assert stopped.value.code == 0
  listed = [
    line.split()[0].removeprefix("--")
    for line in capsys.readouterr().out.splitlines()
    if line.startswith("  --")
  ]
  assert listed == [flag.name for flag in tasks.TASKS[name].FLAGS]
  assert len(set(listed)) == len(listed)


def test_defaults_are_listed(capsys):
  with pytest.raises(SystemExit):
    task_help.print_if_asked(
      ["main.py", "--help", "--task", "embed"], tasks.TASKS, ""
    )
  text = capsys.readouterr().out
  assert "--batch_size (default: 32)" in text
  assert "--json (default: false)" in text
  assert "--images (default: none)" in text


def test_help_of_an_unknown_task():
  with pytest.raises(SystemExit, match="one of train, .*; got 'trian'"):
    task_help.print_if_asked(
      ["main.py", "--help", "--task=trian"], tasks.TASKS, ""
    )


@pytest.fixture
def task_flag():
  """Define --task as main.py does, and leave all flags as they were."""
  flags.DEFINE_string("task", "train", "")
  saved = {name: flags.FLAGS[name].present for name in flags.FLAGS}
  yield
  for name, present in saved.items():
    flags.FLAGS[name].present = present
  delattr(flags.FLAGS, "task")


@pytest.mark.usefixtures("task_flag")
def test_every_flag_that_a_task_does_not_use_is_refused():
  all_flags = {f.name: f for task in tasks.TASKS.values() for f in task.FLAGS}
  for name, task in tasks.TASKS.items():
    used = {flag.name for flag in task.FLAGS}
    for flag in all_flags:
      flags.FLAGS[flag].present = 1
      if flag in used:
        task_help.check_flags(name, tasks.TASKS)
      else:
        with pytest.raises(app.UsageError, match=f"--{flag} is not used by"):
          task_help.check_flags(name, tasks.TASKS)
      flags.FLAGS[flag].present = 0


def test_a_flag_of_another_task_is_refused_by_name(tmp_path):
  workdir = tmp_path / "run"
  result = _main(
    "--config=configs/quickstart.py", f"--workdir={workdir}", "--query=car"
  )
  assert result.returncode == 1
  assert (
    "error: --query is not used by --task=train, the default; it is a flag of"
    " --task=search"
  ) in result.stderr
  assert not workdir.exists()


def test_a_field_without_its_config():
  result = _main("--config.batch_size=3")
  assert result.returncode == 1
  assert "--config.batch_size needs --config=configs/NAME.py" in result.stderr
