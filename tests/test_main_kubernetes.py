"""Pods of an Indexed Job, by their variables alone."""

import socket

import pytest

from tests import runs


@pytest.mark.slow
def test_two_pods_meet(runner, tmp_path):
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{probe.getsockname()[1]}"
  pods = [
    runner.start(
      tmp_path / "run",
      # Different configs: they meet, and find that they must not go on.
      f"--config.seed={index}",
      env={
        "JOB_COMPLETION_INDEX": str(index),
        "JAX_NUM_PROCESSES": "2",
        "JAX_COORDINATOR_ADDRESS": address,
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
      },
    )
    for index in range(2)
  ]
  first, second = (runs.finish(pod) for pod in pods)
  runs.assert_other_seed_is_refused(first, second)
