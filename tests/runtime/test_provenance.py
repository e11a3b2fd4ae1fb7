"""Commit and changes of a checkout."""

import subprocess

import pytest

from runtime import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
  """Return a checkout that takes the place of this one."""
  monkeypatch.setattr(provenance, "_ROOT", tmp_path)
  for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
    monkeypatch.delenv(variable, raising=False)
  _git(tmp_path, "init", "-q")
  (tmp_path / "a.py").write_text("a = 1\n")
  _git(tmp_path, "add", "a.py")
  _git(
    *(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit"),
    *("-q", "-m", "first"),
  )
  return tmp_path


def _git(folder, *args):
  return subprocess.run(
    ("git", *args), cwd=folder, check=True, capture_output=True, text=True
  ).stdout.strip()


def test_clean(checkout):
  head = _git(checkout, "rev-parse", "HEAD")
  assert provenance.commit() == head
  assert provenance.code() == provenance.Code(head)


def test_changes_are_kept_and_new_files_named(checkout):
  head = _git(checkout, "rev-parse", "HEAD")
  (checkout / "a.py").write_text("a = 2\n")
  (checkout / "secret ü.txt").write_text("password\n")
  assert provenance.commit() == f"{head}+changes"
  code = provenance.code()
  assert code.commit == head
  assert b"-a = 1\n+a = 2\n" in code.diff
  assert code.num_bytes == len(code.diff)
  assert code.untracked == ("secret ü.txt",)
  assert b"password" not in code.diff
  # The diff can be applied to the commit.
  _git(checkout, "checkout", "-q", "a.py")
  (checkout / "change.diff").write_bytes(code.diff)
  _git(checkout, "apply", "change.diff")
  assert (checkout / "a.py").read_text() == "a = 2\n"


def test_staged_changes_are_changes(checkout):
  (checkout / "b.py").write_text("b = 1\n")
  _git(checkout, "add", "b.py")
  code = provenance.code()
  assert b"+b = 1" in code.diff
  assert code.untracked == ()


def test_large_changes_are_not_kept(checkout):
  text = "".join(f"line {number}\n" for number in range(200_000))
  (checkout / "a.py").write_text(text)
  code = provenance.code()
  assert code.diff == b""
  assert code.num_bytes > provenance.MOST_BYTES


def test_no_checkout(tmp_path, monkeypatch):
  monkeypatch.setattr(provenance, "_ROOT", tmp_path)
  monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
  assert provenance.commit() == ""
  assert provenance.code() == provenance.Code("")


def test_decoders_have_their_versions():
  assert {"pillow", "simplejpeg", "jax"} <= provenance.versions().keys()
  assert "no-such-package" not in provenance.versions("no-such-package")
