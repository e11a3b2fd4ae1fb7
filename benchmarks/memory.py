"""The memory of a process."""

import pathlib


def peak_mib(process: int | str | None) -> float:
  """Return the highest resident memory of a process (Linux).

  What getrusage tells of a child begins with the memory of its parent.
  """
  status = pathlib.Path(f"/proc/{process}/status").read_text()
  (line,) = (x for x in status.splitlines() if x.startswith("VmHWM:"))
  return int(line.split()[1]) / 1024
