"""Folders --out in a bucket have what a folder on the disk has."""

import numpy as np
import pytest
from PIL import Image

from inference import export
from inference.embeddings import embed, part_files
from inference.explaining import explain
from input_pipeline.images import image_ops
from runtime import failures
from runtime.storage import unfinished, whole_files
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror


def _embed(path, as_json=False, **fields):
  return embed.run(path, embed.Wanted(**fields), as_json=as_json)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  made = tmp_path_factory.mktemp("run") / "run"
  fresh_run.write(made, runs.make_config({}))
  return str(made)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
  """Return flags of images, one of which is broken, and of texts."""
  place = tmp_path_factory.mktemp("photos")
  rng = np.random.default_rng(0)
  for i in range(30):
    pixels = rng.integers(0, 256, (20, 20 + i, 3), np.uint8)
    Image.fromarray(pixels).save(place / f"{i:02}.png")
  (place / "05.png").write_text("no image")
  (place / "texts.txt").write_text("a cat\na dog\nein Hund\n")
  return {
    "images": f"{place}/*.png",
    "texts": str(place / "texts.txt"),
    "batch_size": 8,
  }


def _contents(root):
  """Return {name: bytes} of all files below a folder, without its address."""
  return {
    name: (root / name).read_bytes().replace(str(root).encode(), b"OUT")
    for name in whole_files.sizes(root)
  }


def _assert_same(got, expected):
  got, expected = _contents(got), _contents(expected)
  assert sorted(got) == sorted(expected)
  for name, data in expected.items():
    assert got[name] == data, name


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_embed_is_killed_and_goes_on(
  folder, run, inputs, tmp_path, monkeypatch
):
  monkeypatch.setattr(part_files, "_SAVE_SECONDS", 0.0)
  monkeypatch.setattr(embed.row_batches, "BATCH_SIZE", 1)
  _embed(run, out=str(tmp_path / "out"), **inputs)
  decode, read = image_ops.decode, []

  def killed(data):
    read.append(data)
    if len(read) == 20:
      raise KeyboardInterrupt
    return decode(data)

  with monkeypatch.context() as patch:
    patch.setattr(image_ops, "decode", killed)
    with pytest.raises(KeyboardInterrupt):
      _embed(run, out=str(folder), **inputs)
  assert unfinished.names(folder) == [".unfinished"]
  fewer = inputs | {"texts": ""}
  with pytest.raises(failures.RunError, match="num_texts: 3 in the folder"):
    _embed(run, out=str(folder), **fewer)
  again = []
  with monkeypatch.context() as patch:
    patch.setattr(
      image_ops, "decode", lambda data: again.append(data) or decode(data)
    )
    # Killed once more, when images.npy is in place and texts.npy is not.
    join = part_files.join

    def join_once(made, path, *args):
      if path.name == "texts.npy":
        raise KeyboardInterrupt
      join(made, path, *args)

    patch.setattr(part_files, "join", join_once)
    with pytest.raises(KeyboardInterrupt):
      _embed(run, out=str(folder), **inputs)
  assert 0 < len(again) <= 30 - 8  # a batch on 8 devices
  assert unfinished.names(folder) == [".unfinished", "images.npy"]
  _embed(run, out=str(folder), **inputs)
  _assert_same(folder, tmp_path / "out")
  with pytest.raises(ValueError, match="must be a new or empty folder, or one"):
    _embed(run, out=str(folder), **inputs)


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["gs"], indirect=True)
def test_export_and_explain(folder, run, inputs, tmp_path):
  (tmp_path / "clip").mkdir()
  found, _ = goldens.read(goldens.FOLDER / "hf_clip.npz")
  mirror.write_source(tmp_path / "clip", found)
  clip = str(tmp_path / "clip")
  for form in ("hf", "open_clip"):
    # Files that a killed process left.
    for name in (".writing/begun", "model.safetensors", "sub/other.json"):
      whole_files.write(folder / form / name, b"half")
    export.run(clip, form, str(tmp_path / form))
    export.run(clip, form, str(folder / form))
    _assert_same(folder / form, tmp_path / form)
  with pytest.raises(ValueError, match="must be a new or empty folder; it has"):
    export.run(clip, "hf", str(folder / "hf"))
  explained = {
    "images": inputs["images"].replace("*", "03"),
    "texts": "a cat,a dog",
    "method": "windows",
    "batch_size": 64,
  }
  for place in (folder, tmp_path):
    explain.run(run, out=str(place / "maps"), **explained)
  _assert_same(folder / "maps", tmp_path / "maps")


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["gs"], indirect=True)
def test_a_failure_leaves_nothing(folder, run, inputs, tmp_path):
  (tmp_path / "a.png").write_text("no image")
  flags = {"images": str(tmp_path / "a.png"), "batch_size": 8}
  for fn, more in (
    (_embed, {"texts": ""}),
    (explain.run, {"texts": "a", "method": "windows"}),
  ):
    with pytest.raises(ValueError, match="none of 1 files is an image"):
      fn(run, out=str(folder), **flags, **more)
    assert not whole_files.sizes(folder)


def test_a_folder_that_is_being_written_is_refused(folder):
  with unfinished.whole(folder) as place:
    whole_files.write(place / "a", b"1")
    unfinished.check_free(folder)  # may be of a killed process
    with (
      pytest.raises(failures.RunError, match=r"--out=.* is in use by another"),
      unfinished.whole(folder),
    ):
      pass
  assert unfinished.names(folder) == ["a"]
  with pytest.raises(ValueError, match="it has a"):
    unfinished.check_free(folder)
  # The folder was completed after it had been looked at.
  with pytest.raises(ValueError, match="it has a"), unfinished.whole(folder):
    pass
  assert unfinished.names(folder) == ["a"]
