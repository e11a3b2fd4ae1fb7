import re
import subprocess

import pytest
import yaml

from experiments.launching import command, skypilot
from runtime import failures, provenance

ENVS = {"envs": {"FLAGS": None, "A": "b"}}


def made(**folders):
  return command.Command(("--a=b c", "--d"), "train", folders)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("a: [", "--on=f.yaml is not YAML: "),
    ("", "must be one SkyPilot task with an env FLAGS"),
    ("run: echo", "must be one SkyPilot task with an env FLAGS"),
    ("envs: {FLAGS: a}\n---\nenvs: {FLAGS: a}", "must be one SkyPilot task"),
    ("- a", "must be one SkyPilot task"),
    ("apiVersion: v1\n---\nkind: Job", "kubectl apply -f f.yaml"),
  ],
)
def test_file_is_refused(text, message):
  with pytest.raises(failures.RunError, match=re.escape(message)):
    skypilot.read("f.yaml", text)


def test_file_is_read():
  assert skypilot.read("f.yaml", yaml.safe_dump(ENVS)) == ENVS


@pytest.mark.parametrize(
  ("resources", "folder"),
  [
    ({"infra": "gcp"}, "gs://b/c"),
    (None, "S3://b/c"),
    ({"infra": "slurm/mine"}, "/shared/run"),
    ({"infra": "k8s"}, "gs://b/c"),
    ({"any_of": [{"infra": "slurm"}, {"cloud": "kubernetes"}]}, "/shared"),
  ],
)
def test_folder_is_kept(resources, folder):
  task = {**ENVS, "resources": resources}
  skypilot.check_folders("f.yaml", task, made(workdir=folder))


@pytest.mark.parametrize(
  ("resources", "folder"),
  [
    ({"infra": "gcp"}, "runs/x"),
    ({"infra": "gcp"}, "/runs/x"),
    ({}, "/runs/x"),
    ({"infra": "slurm"}, "runs/x"),
    ({"infra": "slurm", "any_of": [{}, {"infra": "aws"}]}, "/runs/x"),
  ],
)
def test_folder_that_is_deleted(resources, folder):
  task = {**ENVS, "resources": resources}
  message = f"--out must be in a bucket .* on f.yaml, .*; got {folder}$"
  with pytest.raises(failures.RunError, match=message):
    skypilot.check_folders("f.yaml", task, made(workdir="gs://b/c", out=folder))


def test_filled(monkeypatch):
  monkeypatch.setattr(provenance, "commit", lambda: "abc+changes")
  task = {"name": "tpu", "workdir": ".", **ENVS}
  (filled,) = skypilot.fill(task, made(workdir="gs://b/Run_1"), None)
  assert filled == {
    "name": "tpu-run-1",
    "workdir": str(command.ROOT),
    "envs": {
      "FLAGS": "'--a=b c' --d",
      "A": "b",
      "DIPTYCH_COMMIT": "abc+changes",
    },
  }
  assert task["envs"]["FLAGS"] is None


def test_filled_for_each_trial():
  trials = [command.Trial(0, "aa"), command.Trial(3, "bb")]
  filled = skypilot.fill(ENVS, made(workdir="gs://b/rates"), trials)
  assert [task["name"] for task in filled] == [
    "diptych-rates-aa",
    "diptych-rates-bb",
  ]
  assert filled[1]["envs"]["FLAGS"] == "'--a=b c' --d --index=3"


def test_dry_run_without_skypilot(capfd):
  code = skypilot.run([{"name": "a"}], python="none/python", dry_run=True)
  output = capfd.readouterr()
  assert (code, output.out) == (0, "name: a\n")
  assert "not checked by SkyPilot: --sky_python=none/python" in output.err
  with pytest.raises(failures.RunError, match="requirements-launch.txt"):
    skypilot.run([{"name": "a"}], python="none/python", dry_run=False)


def test_commit_on_a_machine_without_git(monkeypatch):
  def run(*args, **kwargs):
    raise FileNotFoundError("git")

  monkeypatch.setattr(subprocess, "run", run)
  monkeypatch.delenv("DIPTYCH_COMMIT", raising=False)
  assert provenance.commit() == ""
  monkeypatch.setenv("DIPTYCH_COMMIT", "abc+changes")
  assert provenance.commit() == "abc+changes"
  assert provenance.code() == provenance.Code("abc+changes")


def test_record(tmp_path, monkeypatch):
  monkeypatch.setattr(skypilot, "_RECORDS", tmp_path)
  code = provenance.Code("abc", b"diff")
  monkeypatch.setattr(provenance, "code", lambda: code)
  tasks = [{"name": "a", "run": "x\ny\n"}, {"name": "b"}]
  skypilot._record(tasks)
  (folder,) = tmp_path.iterdir()
  assert folder.name.endswith("-a")
  assert [*yaml.safe_load_all((folder / "task.yaml").read_text())] == tasks
  assert (folder / "changes.diff").read_bytes() == b"diff"
