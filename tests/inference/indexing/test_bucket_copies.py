"""An index in a bucket: built, searched, changed from elsewhere, and torn."""

import numpy as np
import pytest

from inference.embeddings import embed
from inference.indexing import bucket_copies, build, index_folder
from runtime import failures
from runtime.storage import objects, unfinished, whole_files
from tests.inference.indexing import synthetic

pytestmark = pytest.mark.slow


@pytest.fixture
def indexed(folder, tmp_path, monkeypatch):
  """Return an index in a bucket, of 30 rows."""
  monkeypatch.chdir(tmp_path)
  made = tmp_path / "made"
  synthetic.write(made, synthetic.rows(0, 30))
  with bucket_copies.changed(folder, "out") as local:
    for path in made.rglob("*"):
      if path.is_file():
        target = local / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
  return folder


def _remove(folder, tmp_path, *paths):
  (tmp_path / "gone.txt").write_text("".join(f"{path}\n" for path in paths))
  wanted = embed.Wanted(images="", texts="", out=str(folder))
  return build.run("", wanted, remove=str(tmp_path / "gone.txt"))


@pytest.mark.parametrize("emulator", ["s3", "gs"], indirect=True)
def test_search_and_change(indexed, tmp_path, monkeypatch, capsys):
  index = index_folder.read(str(indexed))
  z_NE = synthetic.rows(0, 30)
  assert index.search(z_NE[:5], 1).row_QK[:, 0].tolist() == [*range(5)]
  _remove(indexed, tmp_path, "3.png")
  assert "29 pictures" in capsys.readouterr().out
  # Another machine sees it, and changes it.
  here = tmp_path / "elsewhere"
  here.mkdir()
  with monkeypatch.context() as patch:
    patch.chdir(here)
    assert len(index_folder.read(str(indexed))) == 29
    _remove(indexed, tmp_path, "4.png")
  after = index_folder.read(str(indexed))
  assert len(after) == 28
  assert not {3, 4} & {*after.search(z_NE[3:4], 28).row_QK[0].tolist()}
  downloaded = []
  monkeypatch.setattr(objects, "download", lambda x: downloaded.extend(x))
  index_folder.read(str(indexed))
  assert not downloaded


@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_kill_before_the_manifest(indexed, tmp_path, monkeypatch, capsys):
  before = whole_files.sizes(indexed)
  upload, calls = objects.upload, []

  def killed(pairs):
    calls.append(pairs)
    if len(calls) == 2:
      raise KeyboardInterrupt
    upload(pairs)

  with monkeypatch.context() as patch:
    patch.setattr(objects, "upload", killed)
    with pytest.raises(KeyboardInterrupt):
      _remove(indexed, tmp_path, "3.png")
  assert before.keys() <= whole_files.sizes(indexed).keys()
  assert len(index_folder.read(str(indexed))) == 30
  _remove(indexed, tmp_path, "3.png")
  assert "29 pictures" in capsys.readouterr().out


@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_a_search_while_the_index_changes(indexed):
  """A search on this machine takes nothing away from a change under way."""
  with bucket_copies.changed(indexed, "out") as local:
    index = index_folder.read(local)
    index_folder.remove(index, np.array([3]))
    assert len(index_folder.read(str(indexed))) == 30
    assert len(index_folder.read(local)) == 29
  assert len(index_folder.read(str(indexed))) == 29


@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_what_is_refused(indexed, folder, tmp_path):
  with (
    unfinished.claim(indexed, "--out=x"),
    pytest.raises(failures.RunError, match="in use"),
  ):
    _remove(indexed, tmp_path, "3.png")
  name = next(x for x in whole_files.sizes(indexed) if "img_emb" in x)
  (indexed / name).unlink()
  with pytest.raises(ValueError, match="is not the shard that was built"):
    index_folder.read(str(indexed))
  other = folder / "other"
  whole_files.write(other / "notes.txt", b"mine")
  np.testing.assert_equal(whole_files.sizes(other), {"notes.txt": 4})
  with pytest.raises(ValueError, match="it has notes.txt"):
    _remove(other, tmp_path, "3.png")
