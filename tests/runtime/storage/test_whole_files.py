"""Files and folders: whole, or as they were."""

import contextlib

import pytest

from runtime.storage import whole_files


def test_a_file_is_replaced_or_left(tmp_path):
  path = tmp_path / "file"
  whole_files.write(path, b"old")
  with contextlib.suppress(KeyError), whole_files.replacing(path) as file:
    file.write(b"new")
    raise KeyError
  assert path.read_bytes() == b"old"
  with whole_files.replacing(path) as file:
    file.write(b"new")
    assert path.read_bytes() == b"old"
  assert path.read_bytes() == b"new"
  assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_others_write_is_whole_or_not_there(tmp_path):
  path = tmp_path / "file"
  with contextlib.suppress(KeyError), whole_files.new_file(path) as temporary:
    temporary.write_bytes(b"half")
    raise KeyError
  assert not list(tmp_path.iterdir())
  with whole_files.new_file(path) as temporary:
    temporary.write_bytes(b"new")
    assert not path.exists()
  assert path.read_bytes() == b"new"
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_takes_its_name_in_the_end(tmp_path, is_there):
  path = tmp_path / "more" / "folder"
  if is_there:
    path.mkdir(parents=True)  # empty
  with whole_files.new_folder(path) as folder:
    (folder / "file").write_bytes(b"")
    assert not (path / "file").exists()
  assert (path / "file").exists()
  assert list(path.parent.iterdir()) == [path]


def test_a_folder_with_something_in_it_is_replaced_if_asked(tmp_path):
  path = tmp_path / "folder"
  path.mkdir()
  (path / "old").write_bytes(b"")
  with pytest.raises(OSError, match="not empty"), whole_files.new_folder(path):
    pass
  assert [p.name for p in path.iterdir()] == ["old"]
  with whole_files.new_folder(path, replaces=True) as folder:
    (folder / "new").write_bytes(b"")
  assert [p.name for p in path.iterdir()] == ["new"]
  assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
  path = tmp_path / "folder"
  with contextlib.suppress(KeyError), whole_files.new_folder(path) as folder:
    (folder / "file").write_bytes(b"")
    raise KeyError
  assert not list(tmp_path.iterdir())
