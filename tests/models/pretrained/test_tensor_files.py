"""Files that are no weights, in one line that says what they are."""

import io
import json
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from models.pretrained import opening, tensor_files

A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
  ("content", "words"),
  [
    (b"", "it is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
    (b"<!DOCTYPE html><title>404</title>", "a page of HTML"),
    (b"\n<html>", "a page of HTML"),
    (b"PK\x03\x04" + bytes(60), "a zip archive"),
    (b"\x80\x04N." + bytes(60), "a pickle"),
    (b'{"error": "gated"}', "JSON"),
    (bytes(100), "get it again"),
    (b"\xff" * 8 + bytes(50), "get it again"),
  ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_other_files_by_the_name_of_weights(content, words, suffix, tmp_path):
  path = tmp_path / f"model.{suffix}"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"no intact {suffix} file") as error:
    opening.open_model(path)
  assert str(path) in str(error.value)
  if suffix == "safetensors" or not content.startswith(b"PK"):
    assert words in str(error.value)
  assert len(str(error.value).splitlines()) == 1


def _header(**tensors):
  header = json.dumps(tensors).encode()
  return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
  "tensors",
  [
    # Overlapping, of another length than the shape, unknown, beyond the end.
    {
      "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
      "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    },
    {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
    {"a": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}},
    {"a": {"dtype": "F32", "shape": [200], "data_offsets": [0, 800]}},
  ],
)
def test_a_header_that_does_not_fit_its_file(tensors, tmp_path):
  path = tmp_path / "m.safetensors"
  path.write_bytes(_header(**tensors) + bytes(12))
  with pytest.raises(ValueError, match=r"m\.safetensors is no intact"):
    opening.open_model(path)


def test_a_folder_by_the_name_of_weights(tmp_path):
  path = tmp_path / "m.safetensors"
  path.mkdir()
  with pytest.raises(ValueError, match="no intact safetensors"):
    tensor_files.names_in(path)


def test_an_npz_whose_bytes_are_damaged(tmp_path):
  path = tmp_path / "m.npz"
  np.savez_compressed(path, a=np.arange(1000, dtype=np.float32))
  content = bytearray(path.read_bytes())
  content[200:260] = bytes(60)
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r"m\.npz: array a is broken"):
    opening.open_model(path).tensors["a"]


def test_an_npz_with_a_member_of_another_kind(tmp_path):
  path = tmp_path / "m.npz"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("readme.txt", "no array")
    array = io.BytesIO()
    np.save(array, A)
    file.writestr("a.npy", array.getvalue())
  tensors = opening.open_model(path).tensors
  np.testing.assert_array_equal(tensors["a"], A)
  with pytest.raises(ValueError, match=r"readme\.txt is no array"):
    tensors["readme.txt"]
  with pytest.raises(KeyError):
    tensors["b"]


def test_float64_beyond_float32_is_infinite():
  with np.errstate(all="raise"):
    got = tensor_files.widened(np.array([1e300, 2.0]))
  assert got.dtype == np.float32
  assert got[0] == np.inf


def test_a_shard_s_own_names_are_checked(tmp_path):
  safetensors.numpy.save_file({"a": A}, tmp_path / "s.safetensors")
  index = tmp_path / "model.safetensors.index.json"
  for name, words in ((3, "names 3 for a"), (["s"], "names ..s.. for a")):
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match=words):
      opening.open_model(tmp_path)
  index.write_text(json.dumps({"weight_map": {"a": "x.bin", "b": "y.bin"}}))
  with pytest.raises(
    FileNotFoundError, match=r"x\.bin, which .*nor are 1 more"
  ):
    opening.open_model(tmp_path)
  (tmp_path / "x.bin").touch()
  index.write_text(json.dumps({"weight_map": {"a": "x.bin"}}))
  with pytest.raises(ValueError, match="is a pickle"):
    opening.open_model(tmp_path)
