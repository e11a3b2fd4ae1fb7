"""Files of launch/: read by the programs that they are for."""

import json
import os
import shlex
import subprocess

import pytest
import yaml

from tests import launch_environment, runs

FOLDER = runs.ROOT / "launch"
TASKS = (
  *("gpu-node", "kubernetes", "slurm", "tpu-pod-queued", "tpu-spot"),
  "tpu-vm",
)
# Words that a shell would split, expand or drop.
WORDS = ("--config=a.py:b c", "--query=it's $HOME *", "--out=", "--x=(1,'a')")


def task(name):
  return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def test_all_files_are_tested():
  names = {path.stem for path in FOLDER.glob("*.yaml")}
  assert names == {*TASKS, "kubernetes-job"}


@pytest.mark.parametrize("name", TASKS)
def test_flags_come_through_the_shell(name, tmp_path):
  python = tmp_path / ".venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\nexit 75\n')
  python.chmod(0o755)
  done = subprocess.run(
    ["bash", "-c", task(name)["run"]],
    env={**os.environ, "FLAGS": shlex.join(WORDS)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout.split("\0")[:-1] == ["main.py", *WORDS]
  assert done.returncode == 75


_PARSE = """
import json, sys, sky
for config in json.loads(sys.argv[1]):
  task = sky.Task.from_yaml_config(config)
  task.validate()
  resources, = task.resources
  print(json.dumps([task.name, resources.job_recovery, resources.use_spot,
    resources.accelerator_args, task.to_yaml_config()["resources"]]))
"""


@pytest.mark.slow
def test_skypilot_reads_the_tasks(tmp_path):
  launch_environment.need()
  configs = [task(name) for name in TASKS]
  for config in configs:
    config["envs"]["FLAGS"] = "--config=x"
    config["workdir"] = str(tmp_path)
  output = launch_environment.call(_PARSE, json.dumps(configs), home=tmp_path)
  rows = dict(zip(TASKS, map(json.loads, output.splitlines()), strict=True))
  for name, (_, recovery, is_spot, _, _) in rows.items():
    is_managed = name not in ("slurm", "tpu-vm")
    codes = (recovery or {}).get("recover_on_exit_codes")
    assert codes == ([75] if is_managed else None), name
    assert is_spot == (name == "tpu-spot"), name
  assert rows["tpu-pod-queued"][3]["gcp_queued_resource"] is True
  assert rows["gpu-node"][4]["accelerators"] == {"H100": 8}


_VALIDATE = """
import json, sys, kubernetes_validate
for document in json.loads(sys.argv[1]):
  kubernetes_validate.validate(document, sys.argv[2], strict=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_schema(version, tmp_path):
  launch_environment.need()
  text = (FOLDER / "kubernetes-job.yaml").read_text()
  documents = [*yaml.safe_load_all(text)]
  launch_environment.call(
    _VALIDATE, json.dumps(documents), version, home=tmp_path
  )
  job = documents[-1]
  assert job["kind"] == "Job"
  job["spec"]["podFailurePolicy"]["rules"][0]["actoin"] = "Ignore"
  with pytest.raises(AssertionError, match="actoin"):
    launch_environment.call(
      _VALIDATE, json.dumps([job]), version, home=tmp_path
    )


def test_kubernetes_names_agree():
  """Pods join by the name of their headless service, and by their number."""
  text = (FOLDER / "kubernetes-job.yaml").read_text()
  kinds = {x["kind"]: x for x in yaml.safe_load_all(text)}
  job, service = kinds["Job"], kinds["Service"]
  pod = job["spec"]["template"]["spec"]
  assert service["spec"]["clusterIP"] == "None"
  assert pod["subdomain"] == service["metadata"]["name"]
  assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
  env = {x["name"]: x["value"] for x in pod["containers"][0]["env"]}
  assert env["JAX_NUM_PROCESSES"] == str(job["spec"]["completions"])
  assert job["spec"]["completions"] == job["spec"]["parallelism"]
  assert job["spec"]["completionMode"] == "Indexed"
