"""Huge pages for the arrays of a program on the CPU.

XLA gets the temporaries of each training step from malloc and returns them, and
the kernel clears every page of 4 KiB anew. Pages of 2 MiB need 1/512 of these
interrupts: a step of a small model takes 0.6 to 0.8 of the time
(benchmarks/huge_pages.py). glibc asks the kernel for them where
GLIBC_TUNABLES has glibc.malloc.hugetlb=1, which it reads when a program starts,
so a program that is to have them starts once more. This module imports no slow
library, as all of it runs twice.
"""

import os
import pathlib
import platform
import sys
from collections.abc import Mapping

VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"
# First release of glibc with the tunable.
_LEAST_GLIBC = (2, 35)
_KERNEL = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart() -> None:
  """Start this program anew with huge pages, where that changes anything.

  Its process, arguments and open files stay. Nothing happens where the kernel
  gives huge pages to all programs or to none, where glibc is too old or is not
  the C library, and where the variable has the tunable already: 0 turns this
  off. A program that another one runs in its own process is left alone too.
  """
  if sys.argv[0] not in sys.orig_argv or "jax" in sys.modules:
    return
  try:
    kernel = _KERNEL.read_text()
  except OSError:  # not Linux, or a kernel without them
    return
  value = tunables(os.environ, kernel, platform.libc_ver())
  if value is None or not sys.executable:
    return
  sys.stdout.flush()
  sys.stderr.flush()
  environment = {**os.environ, VARIABLE: value}
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execve(sys.executable, command, environment)


def tunables(
  environment: Mapping[str, str], kernel: str, libc: tuple[str, str]
) -> str | None:
  """Return the variable's value for huge pages; None to leave it as it is.

  Args:
    environment: variables of the program.
    kernel: choices of the kernel, the one in force in brackets: "always
      [madvise] never".
    libc: name and version of the C library, as platform.libc_ver has them.
  """
  name, version = libc
  if name != "glibc" or "[madvise]" not in kernel:
    return None
  if tuple(map(int, version.split(".")[:2])) < _LEAST_GLIBC:
    return None
  set_before = environment.get(VARIABLE, "")
  if _TUNABLE in set_before:
    return None
  return ":".join(filter(None, (set_before, f"{_TUNABLE}=1")))
