"""Files of a model, and the messages for files that are not."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from models.pretrained import hub, opening

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def _write(path, **tensors):
  safetensors.numpy.save_file(tensors, path)
  return path


def test_a_folder_with_its_description(tmp_path):
  _write(tmp_path / "model.safetensors", a=A, n=np.arange(3))
  (tmp_path / "config.json").write_text('{"model_type": "clip"}')
  found = opening.open_model(tmp_path)
  assert found.path == tmp_path
  assert found.config == {"model_type": "clip"}
  assert sorted(found.tensors) == ["a", "n"]
  np.testing.assert_array_equal(found.tensors["a"], A)
  assert found.tensors["n"].dtype == np.int64
  assert "b" not in found.tensors
  # The file alone is the same model.
  assert opening.open_model(tmp_path / "model.safetensors").config


def test_open_clip_has_names_of_its_own(tmp_path):
  _write(tmp_path / "open_clip_model.safetensors", a=A)
  (tmp_path / "config.json").write_text('{"model_type": "clip"}')
  (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
  assert opening.open_model(tmp_path).config == {"model_cfg": {}}


def test_other_names_for_weights(tmp_path):
  path = _write(tmp_path / "mine.safetensors", a=A)
  for place in (path, str(path), tmp_path):
    found = opening.open_model(place)
    assert list(found.tensors) == ["a"]
    assert found.config == {}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_numbers_become_float32(dtype, tmp_path):
  path = _write(tmp_path / "x.safetensors", a=A.astype(dtype))
  got = opening.open_model(path).tensors["a"]
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, A)


def test_shards(tmp_path):
  _write(tmp_path / "model-00001-of-00002.safetensors", a=A)
  _write(tmp_path / "model-00002-of-00002.safetensors", b=2 * A)
  where = {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00002-of-00002.safetensors",
  }
  index = tmp_path / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": where}))
  for path in (tmp_path, index):
    tensors = opening.open_model(path).tensors
    assert dict(tensors).keys() == {"a", "b"}
    np.testing.assert_array_equal(tensors["b"], 2 * A)

  index.write_text(json.dumps({"weight_map": where | {"c": where["a"]}}))
  with pytest.raises(ValueError, match="lacks c"):
    opening.open_model(tmp_path)
  index.write_text(json.dumps({"weight_map": where | {"b": "../b"}}))
  with pytest.raises(
    ValueError, match=r"names '\.\./b' for b; expected a file b"
  ):
    opening.open_model(tmp_path)
  index.write_text(json.dumps({"weight_map": where | {"b": "b.safetensors"}}))
  with pytest.raises(FileNotFoundError, match=r"b\.safetensors, which is not"):
    opening.open_model(tmp_path)
  index.write_text("{}")
  with pytest.raises(ValueError, match="no weight_map"):
    opening.open_model(tmp_path)
  index.unlink()
  with pytest.raises(FileNotFoundError, match="2 shards .* no model.safeten"):
    opening.open_model(tmp_path)


def test_npz(tmp_path):
  # Names are names, not places: nothing is unpacked.
  bits = A.astype(ml_dtypes.bfloat16).view("V2")
  np.savez(tmp_path / "m.npz", **{"params/img/w": A, "../../up": bits})
  tensors = opening.open_model(tmp_path).tensors
  assert list(tensors) == ["params/img/w", "../../up"]
  for name in tensors:
    np.testing.assert_array_equal(tensors[name], A)
    assert tensors[name].dtype == np.float32
  assert "x" not in tensors
  assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_python_objects_in_an_npz_are_not_read(tmp_path):
  np.savez(tmp_path / "m.npz", a=np.array([{"a": 1}], dtype=object))
  tensors = opening.open_model(tmp_path).tensors
  with pytest.raises(ValueError, match=r"m\.npz: array a holds Python objects"):
    tensors["a"]


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.pth", "x.ckpt", "x.pkl"])
def test_a_pickle_is_refused(name, tmp_path):
  (tmp_path / name).write_bytes(b"\x80\x04N.")
  for path in (tmp_path / name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name} is a pickle.*safetensors"):
      opening.open_model(path)


def test_nothing_there(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r"no does not exist.*model\.safe"
  ):
    opening.open_model(tmp_path / "no")
  with pytest.raises(FileNotFoundError, match="found nothing"):
    opening.open_model(tmp_path)
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(FileNotFoundError, match="found config.json$"):
    opening.open_model(tmp_path)
  for name in ("a", "b"):
    _write(tmp_path / f"{name}.safetensors", a=A)
  with pytest.raises(FileNotFoundError, match="Name one of its files"):
    opening.open_model(tmp_path)
  with pytest.raises(ValueError, match=r"config\.json is no file of weights"):
    opening.open_model(tmp_path / "config.json")


@pytest.mark.parametrize("num_bytes", [0, 4, 40, -4])
def test_a_file_that_was_cut(num_bytes, tmp_path):
  path = _write(tmp_path / "x.safetensors", a=A)
  path.write_bytes(path.read_bytes()[:num_bytes])
  with pytest.raises(ValueError, match=r"x\.safetensors is no intact safe"):
    opening.open_model(path)
  np.savez(tmp_path / "x.npz", a=A)
  path = tmp_path / "x.npz"
  path.write_bytes(path.read_bytes()[:num_bytes])
  with pytest.raises(ValueError, match=r"x\.npz is no intact npz"):
    opening.open_model(path)


def test_a_description_that_is_broken(tmp_path):
  _write(tmp_path / "model.safetensors", a=A)
  for text in ("{", "[1]"):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
      opening.open_model(tmp_path)


@pytest.mark.parametrize("name", ["hf://clip", "hf://a/b/c", "hf:///b"])
def test_what_is_no_id(name):
  with pytest.raises(ValueError, match="expected hf://owner/name"):
    opening.open_model(name)


class _Hub:
  """Stands for huggingface_hub: what is there, and what was asked for."""

  def __init__(self, folder, files, online=True):
    self.folder, self.files, self.online = folder, files, online
    self.asked = []

  def HfApi(self):
    return self

  def list_repo_files(self, name, revision):
    if not self.online:
      raise ConnectionError("no network\nat all")
    return self.files

  def snapshot_download(self, name, **kwargs):
    self.asked.append((name, kwargs))
    if kwargs.get("local_files_only") and not self.files:
      raise FileNotFoundError("nothing in the cache")
    return str(self.folder)


def test_an_id_downloads_what_is_read(tmp_path, monkeypatch):
  _write(tmp_path / "model.safetensors", a=A)
  files = ["model.safetensors", "open_clip_model.safetensors", "x.bin"]
  fake = _Hub(tmp_path, files)
  monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", fake)
  assert list(opening.open_model("hf://a/b@v1").tensors) == ["a"]
  ((name, kwargs),) = fake.asked
  assert name == "a/b"
  assert kwargs["revision"] == "v1"
  patterns = kwargs["allow_patterns"]
  assert "model.safetensors" in patterns
  assert not any(x in patterns for x in ("*", "*.safetensors", "*.bin"))


def test_an_id_without_a_network(tmp_path, monkeypatch):
  _write(tmp_path / "model.safetensors", a=A)
  fake = _Hub(tmp_path, ["kept"], online=False)
  monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", fake)
  assert list(opening.open_model("hf://a/b").tensors) == ["a"]
  fake.files = []
  with pytest.raises(ValueError, match="hf://a/b .*a folder that holds a/b"):
    opening.open_model("hf://a/b")
  monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
  with pytest.raises(ValueError, match="install -r requirements.txt, or give"):
    hub.download("hf://a/b", ())
