"""Tasks whose --out lies in a bucket: killed, gone on with, refused."""

import pytest

from tests import out_jobs, runs


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
