"""Peak memory of a process."""

import pathlib


def peak_mib(process: int | str | None) -> float:
  """Return the highest resident memory of a process (Linux).

  It is read from /proc, since getrusage of a child starts at its parent's peak.
  """
  status = pathlib.Path(f"/proc/{process}/status").read_text()
  (line,) = (x for x in status.splitlines() if x.startswith("VmHWM:"))
  return int(line.split()[1]) / 1024


def anonymous_mib() -> float:
  """Return this process's resident memory that no file is behind (Linux)."""
  rollup = pathlib.Path("/proc/self/smaps_rollup").read_text()
  (line,) = (x for x in rollup.splitlines() if x.startswith("Anonymous:"))
  return int(line.split()[1]) / 1024
