"""Folders that are claimed, resumed and whole."""

import contextlib
import fcntl
import itertools
import multiprocessing
import threading

import pytest

from runtime import failures
from runtime.storage import unfinished


def test_a_claimed_folder_is_refused(tmp_path):
  folder = tmp_path / "a" / "b"
  with (
    unfinished.claim(folder, "--out=b"),
    pytest.raises(failures.RunError, match="^--out=b is in use by another run"),
    unfinished.claim(folder, "--out=b"),
  ):
    pass
  with unfinished.claim(folder, "--out=b"):  # and free again
    pass


def test_a_failure_inside_is_not_one_of_the_claim(tmp_path):
  with (
    pytest.raises(BlockingIOError),
    unfinished.claim(tmp_path, "--out=b"),
  ):
    raise BlockingIOError
  with (
    pytest.raises(OSError, match="mine"),
    unfinished.whole(tmp_path / "b"),
  ):
    raise OSError("mine")
  assert [path.name for path in tmp_path.iterdir()] == [unfinished.LOCK]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").touch()
  for make in (
    unfinished.claim(tmp_path / "file", "--out=b"),
    unfinished.claim(tmp_path / "file/x", "--out=b"),
    unfinished.whole(tmp_path / "file/x"),
  ):
    with pytest.raises(failures.RunError, match="^--out=.* cannot be written "):
      make.__enter__()


def test_a_lock_that_its_owner_deleted_is_made_anew(tmp_path, monkeypatch):
  flock, numbers = fcntl.flock, itertools.count()

  def delete_first(file, operation):
    if not next(numbers):
      (tmp_path / unfinished.LOCK).unlink()
    flock(file, operation)

  monkeypatch.setattr(fcntl, "flock", delete_first)
  with unfinished.claim(tmp_path, "--out=b") as token:
    assert unfinished.token(tmp_path) == token
    with (
      pytest.raises(failures.RunError, match="in use"),
      unfinished.claim(tmp_path, "--out=b"),
    ):
      pass


def _hold(folder, is_held):
  with unfinished.claim(folder, ""):
    is_held.set()
    threading.Event().wait()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
  context = multiprocessing.get_context("spawn")
  is_held = context.Event()
  process = context.Process(target=_hold, args=(tmp_path, is_held))
  process.start()
  assert is_held.wait(60)
  with (
    pytest.raises(failures.RunError),
    unfinished.claim(tmp_path, "--out=b"),
  ):
    pass
  process.kill()
  process.join()
  with unfinished.claim(tmp_path, "--out=b"):
    pass


def test_turns_are_taken_and_find_no_leftovers(tmp_path):
  folder, order = tmp_path / "cache", []
  (folder / ".a.tmp-1").mkdir(parents=True)
  (folder / ".b.tmp-2").touch()

  def second():
    with unfinished.turn(folder):
      order.append("second")

  with unfinished.turn(folder):
    assert [path.name for path in folder.iterdir()] == [unfinished.LOCK]
    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.1)
    order.append("first")
  thread.join(60)
  assert order == ["first", "second"]


def test_unfinished_work_stays_until_all_goes_well(tmp_path):
  work = tmp_path / ".unfinished"
  with contextlib.suppress(KeyError), unfinished.resumed(work, "--out=b"):
    (work / "half").touch()
    (work / ".rest.tmp-1").touch()
    raise KeyError
  with unfinished.resumed(work, "--out=b"):
    names = sorted(path.name for path in work.iterdir())
    assert names == [unfinished.LOCK, "half"]
  assert not work.exists()


def test_leftovers_below_are_deleted_where_asked(tmp_path):
  left = [".a.tmp-1", "x/.a.tmp-1", "x/y/.a.tmp-1/file", "x/y/z/.a.tmp-1"]
  for name in left:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  (tmp_path / "x/a.tmp-1").touch()  # somebody's
  unfinished.delete_leftovers(tmp_path, "x/*")
  files = {
    str(path.relative_to(tmp_path))
    for path in tmp_path.rglob("*")
    if path.is_file()
  }
  assert files == {"x/a.tmp-1", "x/.a.tmp-1", "x/y/z/.a.tmp-1"}


def test_whole_or_not_there(tmp_path):
  out = tmp_path / "out"
  with unfinished.whole(out) as folder:
    (folder / "file").touch()
    assert not out.exists()
  assert [path.name for path in out.iterdir()] == ["file"]


def test_only_a_new_or_empty_folder_is_free(tmp_path):
  unfinished.check_free(tmp_path / "new")
  unfinished.check_free(tmp_path)
  for name in "dcba":
    (tmp_path / name).touch()
  with pytest.raises(
    ValueError,
    match=f"--out={tmp_path} must be a new or empty folder; it has a, b, c$",
  ):
    unfinished.check_free(tmp_path)
  with pytest.raises(ValueError, match="a must be a folder, not a file"):
    unfinished.check_free(tmp_path / "a")


def test_another_key_is_refused_with_its_fields():
  was = {"same": 1, "other": [1], "more": 3}
  changed = unfinished.changes(was, {"same": 1, "other": [2], "new": "a"}, "x.")
  error = unfinished.other_key("--out=b", "another set; bring it back", changed)
  assert str(error).splitlines() == [
    "--out=b holds another set; bring it back, or give another folder:",
    "  x.other: [1] in the folder, [2] now",
    "  x.new: None in the folder, 'a' now",
  ]
