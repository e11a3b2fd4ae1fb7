"""Huge pages: who starts anew, and with which variable."""

import os
import subprocess
import sys

import pytest

from runtime import huge_pages

_MADVISE = "always [madvise] never\n"
_GLIBC = ("glibc", "2.36")


@pytest.mark.parametrize(
  ("environment", "kernel", "libc", "expected"),
  [
    ({}, _MADVISE, _GLIBC, "glibc.malloc.hugetlb=1"),
    (
      {"GLIBC_TUNABLES": "glibc.malloc.check=3"},
      _MADVISE,
      ("glibc", "2.35"),
      "glibc.malloc.check=3:glibc.malloc.hugetlb=1",
    ),
    ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, _MADVISE, _GLIBC, None),
    ({}, "[always] madvise never", _GLIBC, None),
    ({}, "always madvise [never]", _GLIBC, None),
    ({}, _MADVISE, ("glibc", "2.34"), None),
    ({}, _MADVISE, ("", ""), None),
  ],
)
def test_the_variable_is_set_where_it_helps(
  environment, kernel, libc, expected
):
  assert huge_pages.tunables(environment, kernel, libc) == expected


_PROGRAM = """
import os, pathlib, sys
from runtime import huge_pages
huge_pages._KERNEL = pathlib.Path(sys.argv[1])
huge_pages.platform.libc_ver = lambda: ("glibc", "2.36")
print("start", os.getpid(), flush=True)
huge_pages.restart()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[2:], sys.stdin.read())
"""


@pytest.mark.parametrize("is_script", [True, False])
def test_a_script_starts_anew_once_as_the_same_process(tmp_path, is_script):
  kernel, script = tmp_path / "enabled", tmp_path / "script.py"
  kernel.write_text(_MADVISE)
  script.write_text(_PROGRAM)
  called = ["-c", f"import runpy; runpy.run_path({str(script)!r})"]
  run = [script] if is_script else called
  ended = subprocess.run(
    [sys.executable, *run, kernel, "--flag=a b"],
    env=dict(os.environ, GLIBC_TUNABLES="", PYTHONPATH=os.getcwd()),
    input="typed",
    capture_output=True,
    text=True,
    check=True,
  )
  *starts, rest = ended.stdout.splitlines()
  assert len(starts) == 1 + is_script
  assert len({*starts}) == 1
  value = "glibc.malloc.hugetlb=1" if is_script else ""
  assert rest == f"{value} ['--flag=a b'] typed"
