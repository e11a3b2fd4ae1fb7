"""Hand-over to a real SkyPilot server, which has no cloud.

python -m pytest tests/long/skypilot_launch.py

It starts SkyPilot's server on its own port, 46580, and stops it.
"""

import pathlib
import re
import shutil
import subprocess

from tests import launch_environment
from tests import test_main_launch as base


def test_handed_over_as_a_managed_job_and_as_a_cluster(tmp_path):
  launch_environment.need()
  env = launch_environment.variables(tmp_path)
  sky = launch_environment.PYTHON.with_name("sky")
  try:
    for name in ("tpu-spot", "tpu-vm"):
      done = base.launch("--", *base.TINY, on=f"launch/{name}.yaml", env=env)
      record = re.search(r"recorded in (.*)", done.stderr)
      assert record, done.stderr
      folder = pathlib.Path(record[1])
      text = (folder / "task.yaml").read_text()
      shutil.rmtree(folder)
      assert text == done.stdout[: len(text)]
      assert done.returncode == 1
      line = done.stderr.splitlines()[-1]
      assert line.startswith("error: SkyPilot: Cloud access is not set up"), (
        done.stderr
      )
      is_managed = "jobs controller" in done.stdout + done.stderr
      assert is_managed == (name == "tpu-spot")
  finally:
    subprocess.run([sky, "api", "stop"], env=env, check=False)
