"""Processes that join, and the messages if they cannot."""

import socket

import pytest

from runtime import cluster
from tests import runs

_SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "localhost",
  "SLURM_PROCID": "0",
  "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize(
  ("address", "num", "index", "words"),
  [
    ("host:1", None, None, "--num_processes and --process_id missing"),
    (None, 2, None, "--coordinator_address and --process_id missing"),
    (None, 2, 0, "--coordinator_address missing"),
    ("host:1", 2, None, "--process_id missing"),
    ("host", 2, 0, "--coordinator_address must be HOST:PORT.*'host'"),
    ("host:port", 2, 0, "--coordinator_address must be HOST:PORT"),
    (":1234", 2, 0, "--coordinator_address must be HOST:PORT"),
    ("host:70000", 2, 0, "--coordinator_address must be HOST:PORT"),
    ("host:1234", 0, 0, "--num_processes must be at least 1; got 0"),
    ("host:1234", 2, 2, "--process_id must be from 0 to .* 1; got 2"),
    ("host:1234", 2, -1, "--process_id must be from 0 to .* 1; got -1"),
  ],
)
def test_flags_that_do_not_fit_together(address, num, index, words):
  with pytest.raises(cluster.ClusterError, match=words):
    cluster.join(address, num, index, 1)


def test_a_port_that_is_taken():
  with socket.create_server(("", 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(cluster.ClusterError, match=f"listen on port {port}"):
      cluster.join(f"127.0.0.1:{port}", 2, 0, 1)


def test_one_process_joins_nothing(monkeypatch):
  for name, value in (_SLURM | {"SLURM_NTASKS": "4"}).items():
    monkeypatch.setenv(name, value)
  cluster.join(None, 1, None, 1)  # whatever the environment says
  cluster.join("127.0.0.1:1", 1, 0, 1)
  assert cluster.is_first()
  assert cluster.on_first(lambda: [1, 2]) == [1, 2]
  assert cluster.together(lambda: 3) == 3
  assert cluster.first_then_all(lambda: 4) == 4
  assert cluster.gather(lambda: (5, 6)) == [(5, 6)]
  assert cluster.DelayedMax().highest(5) == 5


def test_announced(monkeypatch):
  for name in ("SLURM_JOB_ID", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX"):
    monkeypatch.delenv(name, raising=False)
  assert cluster.announced() == (0, 1)
  monkeypatch.setenv("SKYPILOT_NODE_IPS", "10.0.0.4\n10.0.0.5")
  monkeypatch.setenv("SKYPILOT_NODE_RANK", "1")
  monkeypatch.setenv("SKYPILOT_NUM_NODES", "2")
  assert cluster.announced() == (1, 2)
  monkeypatch.setenv("SKYPILOT_NODE_IPS", "10.0.0.4")
  monkeypatch.setenv("SKYPILOT_NODE_RANK", "0")
  monkeypatch.setenv("SKYPILOT_NUM_NODES", "1")
  assert cluster.announced() == (0, 1)


def test_nobody_at_the_address(runner, tmp_path):
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))  # and nobody listens
    address = f"127.0.0.1:{probe.getsockname()[1]}"
    result = runner.run(
      tmp_path / "run",
      f"--coordinator_address={address}",
      "--num_processes=2",
      "--process_id=1",
      "--join_timeout_seconds=2",
    )
  assert result.code == 1
  (line,) = result.stderr.strip().splitlines()
  assert line.startswith(
    "error: --coordinator_address: the 2 processes did not"
  )
  assert address in line
  assert "within 2 s (--join_timeout_seconds)" in line
  assert not (tmp_path / "run").exists()


def _is_free(job: int) -> bool:
  """Return whether nobody listens at the port that JAX makes of a job."""
  with socket.socket() as probe:
    return probe.connect_ex(("127.0.0.1", 65535 - 2**12 + 1 + job)) != 0


@pytest.mark.slow
def test_slurm(runner, tmp_path):
  """JAX finds the other process by what Slurm sets."""
  config = "--config.total_steps=10"
  job = next(number for number in range(7, 2**12) if _is_free(number))
  processes = [
    runner.start(
      tmp_path / "run",
      config,
      # Different configs: they meet, and find that they must not go on.
      f"--config.seed={index}",
      env=_SLURM
      | {
        "SLURM_JOB_ID": str(job),
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
      },
    )
    for index in range(2)
  ]
  first, second = (runs.finish(process) for process in processes)
  runs.assert_other_seed_is_refused(first, second)
  for result in (first, second):
    assert "Traceback" not in result.stderr
    assert "cannot be reached" not in result.stderr
