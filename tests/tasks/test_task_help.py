"""Help by task, and flags that a task does not use."""

import json
import subprocess
import sys

import pytest

from tests import runs


def _python(*args: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, *args],
    capture_output=True,
    text=True,
    cwd=runs.ROOT,
    timeout=60,
  )


def _main(*args: str) -> subprocess.CompletedProcess[str]:
  return _python("-X", "importtime", "main.py", *args)


@pytest.fixture(scope="module")
def report():
  """Return the JSON of flag_report.py."""
  result = _python("-m", "tests.tasks.flag_report")
  assert result.returncode == 0, result.stderr
  return json.loads(result.stdout)


def test_help_has_a_line_for_each_task_and_imports_no_jax(report):
  result = _main("--help")
  assert result.returncode == 0
  listed = [
    line.split()[0]
    for line in result.stdout.partition("--task (default: train)")[2]
    .split("Flags of a task")[0]
    .splitlines()
    if line.startswith("  ")
  ]
  assert listed == list(report)
  assert "| jax\n" not in result.stderr
  assert "absl.flags" in result.stderr  # import times are printed


def test_help_of_a_task_lists_its_flags_alone(report):
  for name, facts in report.items():
    assert facts["help"].startswith(f"--task={name}: ")
    listed = [
      line.split()[0].removeprefix("--")
      for line in facts["help"].splitlines()
      if line.startswith("  --")
    ]
    assert listed == facts["flags"]
    assert len(set(listed)) == len(listed)
    assert facts["help_before"] == facts["help"]


def test_defaults_are_listed(report):
  text = report["embed"]["help"]
  assert "--batch_size (default: 32)" in text
  assert "--json (default: false)" in text
  assert "--images (default: none)" in text


def test_every_flag_that_a_task_does_not_use_is_refused(report):
  for name, facts in report.items():
    for flag, message in facts["refusals"].items():
      if flag in facts["flags"]:
        assert not message
      else:
        assert message.startswith(f"--{flag} is not used by --task={name}")
        owners = [n for n, other in report.items() if flag in other["flags"]]
        expected = f"a flag of --task={', '.join(owners)}"
        if name == "launch":
          expected += "; put -- before the command to launch"
        assert message.endswith(expected)


def test_help_of_an_unknown_task():
  result = _main("--help", "--task=trian")
  assert result.returncode == 1
  assert "error: --task must be one of train, evaluate" in result.stderr
  assert "got 'trian'" in result.stderr


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
