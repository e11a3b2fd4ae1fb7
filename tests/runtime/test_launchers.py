"""Launchers by their variables: which is joined, and what is no launcher."""

import socket

import pytest

from runtime import launchers

_OPEN_MPI = {
  "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
  "OMPI_COMM_WORLD_RANK": "1",
  "OMPI_COMM_WORLD_SIZE": "2",
  "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
_OPEN_MPI_5 = {
  "OMPI_COMM_WORLD_RANK": "1",
  "OMPI_COMM_WORLD_SIZE": "2",
  "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
  "PMIX_NAMESPACE": "prterun-host-7@1",
}
_SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "localhost",
  "SLURM_PROCID": "1",
  "SLURM_LOCALID": "1",
  "SLURM_NTASKS": "2",
  "SLURM_STEP_NUM_TASKS": "2",
}
_SKYPILOT = {
  "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5",
  "SKYPILOT_NODE_RANK": "1",
  "SKYPILOT_NUM_NODES": "2",
}
_KUBERNETES = {
  "JOB_COMPLETION_INDEX": "1",
  "JAX_NUM_PROCESSES": "2",
  "JAX_COORDINATOR_ADDRESS": "train-0.pods",
}
_ALL = [_OPEN_MPI, _OPEN_MPI_5, _SLURM, _SKYPILOT, _KUBERNETES]


@pytest.fixture(autouse=True)
def chips(monkeypatch):
  """Return the device files of TPU chips: none, until a test adds some."""
  files = []
  monkeypatch.setattr(launchers.glob, "glob", lambda _: files)
  monkeypatch.setattr(launchers.importlib.util, "find_spec", lambda _: True)
  return files


def _find(variables):
  lines = []
  return launchers.find(variables, lines.append), lines


@pytest.mark.parametrize(
  ("variables", "name", "address", "method"),
  [
    (_OPEN_MPI, "Open MPI", "", "ompi"),
    # 71 of its namespace; the same in all of its processes.
    (_OPEN_MPI_5, "Open MPI", "127.0.0.1:8547", "ompi"),
    (_SLURM, "Slurm", "", "slurm"),
    (_SKYPILOT, "SkyPilot", "10.0.0.4:8476", ""),
    (_KUBERNETES, "Kubernetes", "train-0.pods:8476", ""),
  ],
)
def test_one_launcher(variables, name, address, method):
  launcher, lines = _find(variables)
  assert not lines
  assert (launcher.name, launcher.address) == (name, address)
  assert (launcher.count, launcher.index) == (2, 1)
  assert launcher.method == method


def test_one_process_is_alone():
  assert _find({}) == (None, [])
  for variables in _ALL:
    one = {
      name: "1" if value == "2" else "0" if value == "1" else value
      for name, value in variables.items()
    }
    assert _find(one) == (None, [])


@pytest.mark.parametrize(
  ("variables", "words"),
  [
    (_OPEN_MPI | {"OMPI_COMM_WORLD_RANK": None}, "SIZE=2, but .*RANK is not"),
    (_OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": None}, "RANK=1, but .*SIZE is not"),
    (_OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "2"}, "RANK must be from 0 to"),
    (_OPEN_MPI_5 | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, "JAX_COORDINATOR_ADDR"),
    (_SLURM | {"SLURM_NTASKS": "4"}, "SLURM_NTASKS=4 and .*NUM_TASKS=2 contra"),
    (_SLURM | {"SLURM_PROCID": "x"}, "SLURM_PROCID must be .* got .*=x"),
    (_SLURM | {"SLURM_PROCID": None}, "SLURM_PROCID is not set"),
    (_SLURM | {"SLURM_LOCALID": None}, "SLURM_LOCALID is not set"),
    (_SKYPILOT | {"SKYPILOT_NODE_RANK": None}, "SKYPILOT_NODE_RANK is not set"),
    (_SKYPILOT | {"SKYPILOT_NODE_IPS": None}, "NODE_IPS has 0 addresses"),
    (_SKYPILOT | {"SKYPILOT_NUM_NODES": "3"}, "NODE_IPS has 2 addresses"),
    (_KUBERNETES | {"JOB_COMPLETION_INDEX": "5"}, "JOB_COMPLETION_INDEX must"),
    (_KUBERNETES | {"JAX_COORDINATOR_ADDRESS": None}, "headless service"),
  ],
)
def test_variables_that_cannot_be_joined_by(variables, words, monkeypatch):
  monkeypatch.setattr(socket, "getfqdn", lambda: "laptop")
  with pytest.raises(launchers.LauncherError, match=words):
    _find({k: v for k, v in variables.items() if v is not None})


def test_a_pod_knows_the_first_by_its_headless_service(monkeypatch):
  domain = "pods.default.svc.cluster.local"
  monkeypatch.setattr(socket, "getfqdn", lambda: f"train-1.{domain}")
  variables = dict(_KUBERNETES)
  del variables["JAX_COORDINATOR_ADDRESS"]
  assert _find(variables)[0].address == f"train-0.{domain}:8476"


def test_a_process_alone_says_so():
  launcher, (line,) = _find({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"})
  assert launcher is None
  assert "4 tasks (SLURM_NTASKS)" in line
  assert "runs alone" in line
  # Trials of a sweep, which have an index each.
  launcher, (line,) = _find({"JOB_COMPLETION_INDEX": "3"})
  assert launcher is None
  assert "JAX_NUM_PROCESSES is not set: this process runs alone" in line


def test_of_two_launchers_the_inner_one_wins():
  both = _SLURM | _OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "0"}
  launcher, (line,) = _find(both | {"SLURM_NTASKS": "2"})
  assert launcher.name == "Open MPI"
  assert "Open MPI (OMPI_COMM_WORLD_SIZE=2, OMPI_COMM_WORLD_RANK=0)" in line
  assert "variables of Slurm (SLURM_NTASKS=2, SLURM_PROCID=1)" in line
  launcher, lines = _find(_SKYPILOT | _SLURM)
  assert launcher.name == "Slurm"
  assert not lines  # process 0 says it for all


def test_a_slice(chips):
  chips.append("/dev/accel0")
  assert _find({"JAX_PLATFORMS": "cpu"})[0] is None
  assert _find(_KUBERNETES)[0].name == "TPU slice"
  assert launchers.find(_SKYPILOT, print, with_tpu=False).name == "SkyPilot"
