"""Start of main.py by an experiment's own program."""

import subprocess
import sys


def run(*args: str) -> None:
  """Run main.py in the current folder, the repository's, and wait for it.

  It is a process of its own: a run that was stopped resumes from its
  checkpoint, and two models are never in memory at once.

  Args:
    *args: flags of main.py.

  Raises:
    CalledProcessError: it ended with another code than 0.
  """
  print(" ".join(("python main.py", *args)), flush=True)
  subprocess.run([sys.executable, "main.py", *args], check=True)
