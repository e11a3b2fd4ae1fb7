"""Tasks whose --out lies in a bucket: killed, gone on with, refused."""

import os
import socket

import pytest

from tests import out_jobs, runs

# Seconds of the check of a bucket, on stderr.
_TIMED = """
import sys, time
from runtime.storage import objects
check = objects.check
def timed(*args):
  start = time.monotonic()
  try:
    check(*args)
  finally:
    end = time.monotonic()
    import atexit
    atexit.register(lambda: print(end - start, file=sys.stderr))
objects.check = timed
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("inputs")
  return {job.name: job for job in out_jobs.make(folder)}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "emulator"),
  [("prepare", "s3"), ("metadata", "gs")],
  indirect=["emulator"],
)
def test_killed_and_gone_on_with(name, jobs, emulator, bucket, tmp_path):
  job, out = jobs[name], out_jobs.out_of(bucket)
  result = job.run(tmp_path / "out")
  assert result.code == 0, result.stderr
  for kill_at in (12, 24):
    result = job.run(out, emulator.variables, kill_at)
    assert out_jobs.was_killed(result), result.stderr
  result = job.run(out, emulator.variables)
  assert result.code == 0, result.stderr
  assert "waiting" not in result.stderr  # a killed owner is of this machine
  expected = out_jobs.contents(tmp_path / "out")
  assert not out_jobs.difference(out_jobs.contents(out), expected)


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_bucket_that_is_not_there_is_one_line(emulator, tmp_path):
  result = runs.Runner(None, None).run(
    *(None, "--task=export", f"--init_from={tmp_path}"),
    "--out=s3://no-such-bucket/a",
    config=None,
    env=emulator.variables,
  )
  assert result.code == 1
  assert result.stderr == (
    "error: --out=s3://no-such-bucket/a: there is no bucket"
    " s3://no-such-bucket\n"
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("scheme", "advice"),
  [
    ("gs", "run `gcloud auth application-default login`, or set GOOGLE_"),
    ("s3", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
  ],
)
def test_without_credentials(scheme, advice, tmp_path, monkeypatch):
  for name in [*os.environ]:
    if name.startswith(("AWS_", "GOOGLE_", "GCE_", "NO_GCE", "STORAGE_")):
      monkeypatch.delenv(name)
  monkeypatch.setenv("HOME", str(tmp_path))
  # A store and metadata servers that never answer.
  with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
    at = f"127.0.0.1:{silent.getsockname()[1]}"
    monkeypatch.setenv("FSSPEC_GS_ENDPOINT_URL", f"http://{at}")
    monkeypatch.setenv("GCE_METADATA_HOST", at)
    monkeypatch.setenv("GCE_METADATA_IP", at)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{at}")
    result = runs.Runner(None, None).run(
      None,
      *("--task=export", f"--init_from={tmp_path}"),
      f"--out={scheme}://a-bucket/a",
      config=None,
      before=_TIMED,
    )
  assert result.code == 1
  line, seconds = result.stderr.splitlines()
  assert line.startswith(f"error: --out={scheme}://a-bucket/a: {scheme}://")
  assert advice in line
  # Seconds: three are for the metadata server, and five for the bucket.
  assert float(seconds) < 15
