"""A path that exists is that path, and the rest of it may be a pattern."""

import os
import pathlib
import unicodedata

import fsspec
import pytest

from inference import image_files
from input_pipeline.storage import files, patterns

# Names of folders that are patterns too, or that a URL would change.
NAMES = (
  *("[v1]", "v[0-9]", "a?b", "a*b", "{x}", "{x,y}", "{0..3}", "a{", "}"),
  *("with space", "a#1", "50%", "%20", "a&b", "caf\u00e9", "a::b", "~x"),
)


# Places, and names in them: fsspec reads "::" in a URL as a chain of URLs.
PLACES = ("disk", "file", "memory")
PLACED = [
  (place, name)
  for place in PLACES
  for name in NAMES
  if place == "disk" or "::" not in name
]


@pytest.fixture(params=PLACES)
def root(request, tmp_path) -> str:
  """Return the start of the paths of a place where there are no files yet."""
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  memory.pseudo_dirs[:] = [""]
  starts = {"disk": str(tmp_path), "file": f"file://{tmp_path}"}
  return starts.get(request.param, "memory://data")


def _write(*paths: str) -> None:
  for path in paths:
    if path.startswith("memory"):
      fsspec.filesystem("memory").pipe(path, b"x")
      continue
    path = pathlib.Path(path.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def _found(pattern: str, root: str) -> list[str]:
  start = root.removeprefix("file://").replace("memory://", "memory:///")
  found = [file.path for file in files.find(pattern, "main.path")]
  return [path.removeprefix(f"{start}/") for path in found]


@pytest.mark.parametrize(("root", "name"), PLACED, indirect=["root"])
def test_a_path_that_exists_is_that_path(root, name):
  _write(f"{root}/{name}/0.tar", f"{root}/{name}/1.tar", f"{root}/v/0.tar")
  assert _found(f"{root}/{name}/0.tar", root) == [f"{name}/0.tar"]
  both = [f"{name}/0.tar", f"{name}/1.tar"]
  if "::" not in name:
    assert _found(f"{root}/{name}/*.tar", root) == both
    assert _found(f"{root}/{name}/**", root) == both
    assert _found(f"{root}/{name}/{{1,0}}.tar", root) == both[::-1]
    with pytest.raises(ValueError, match=r"lists 3 files, of which 1 are not"):
      files.find(f"{root}/{name}/{{0..2}}.tar", "main.path")
  with pytest.raises(ValueError, match="is a folder; did you mean"):
    files.find(f"{root}/{name}", "main.path")


@pytest.mark.parametrize(("root", "name"), PLACED, indirect=["root"])
def test_a_file_that_exists_is_that_file(root, name):
  _write(f"{root}/{name}", f"{root}/v")
  assert _found(f"{root}/{name}", root) == [name]


def test_folders_behind_braces_and_stars(root):
  _write(*(f"{root}/{x}/0.tar" for x in ("a", "[v1]", "v")))
  assert _found(f"{root}/{{a,[v1]}}/*.tar", root) == ["a/0.tar", "[v1]/0.tar"]
  _write(*(f"{root}/{x}/[v1]/0.tar" for x in ("a", "b")))
  if "memory" not in root:  # a request for each of all folders
    found = _found(f"{root}/*/[v1]/*.tar", root)
    assert found == ["a/[v1]/0.tar", "b/[v1]/0.tar"]
  assert _found(f"{root}/*/[[]v1]/*.tar", root) == [
    *("a/[v1]/0.tar", "b/[v1]/0.tar")
  ]


def test_a_pattern_stays_one(root):
  _write(*(f"{root}/{x}/0.tar" for x in ("v", "w", "1")))
  assert _found(f"{root}/[v1]/0.tar", root) == ["1/0.tar", "v/0.tar"]
  with pytest.raises(
    ValueError,
    match=r'matches no file: .*; a "\[" begins a pattern: write \[\[\] for one',
  ):
    files.find(f"{root}/[x2]/0.tar", "main.path")


def test_both_forms_of_accents(tmp_path):
  composed, decomposed = (
    unicodedata.normalize(form, "\u00e9t\u00e9") for form in ("NFC", "NFD")
  )
  assert composed != decomposed
  _write(f"{tmp_path}/{composed}/{decomposed}.tar")
  expected = [f"{composed}/{decomposed}.tar"]
  for folder in (composed, decomposed):
    for name in (composed, decomposed):
      for path in (f"{folder}/{name}.tar", f"{folder}/{name[:-2]}*.tar"):
        assert _found(f"{tmp_path}/{path}", str(tmp_path)) == expected, path


def test_relative_paths_and_the_current_folder(tmp_path, monkeypatch):
  _write(f"{tmp_path}/a.tar", f"{tmp_path}/b/[c]/d.tar", f"{tmp_path}/x.tar")
  monkeypatch.chdir(tmp_path)

  def found(path):
    return [file.path for file in files.find(path, "main.path")]

  assert found("**/*.tar") == ["a.tar", "b/[c]/d.tar", "x.tar"]
  assert found("b/[c]/*") == ["b/[c]/d.tar"]
  assert found("./*.tar") == ["./a.tar", "./x.tar"]
  assert found("b/../*.tar") == ["b/../a.tar", "b/../x.tar"]
  assert found("{b//[c]/*,a*}") == ["b/[c]/d.tar", "a.tar"]
  os.symlink("gone", "c.tar")  # is not there
  with pytest.raises(ValueError, match="1 are not there, first c.tar"):
    found("c.tar")


def test_a_name_that_hides_others_is_logged(tmp_path, monkeypatch):
  _write(*(f"{tmp_path}/{name}" for name in ("*.tar", "0.tar", "1.tar")))
  lines = []
  monkeypatch.setattr(
    patterns.logging,
    "warning",
    lambda text, *values: lines.append(text % values),
  )
  assert _found(f"{tmp_path}/*.tar", str(tmp_path)) == ["*.tar"]
  assert len(lines) == 1
  assert f"matches 2 others, such as {tmp_path}/0.tar" in lines[0]
  lines.clear()
  assert _found(f"{tmp_path}/[*].tar", str(tmp_path)) == ["*.tar"]
  assert not lines


@pytest.mark.parametrize("name", NAMES)
def test_images(tmp_path, name):
  _write(f"{tmp_path}/{name}/a.png", f"{tmp_path}/{name}/b.jpg")
  folder = tmp_path / name
  assert image_files.find(str(folder)) == [folder / "a.png", folder / "b.jpg"]
  assert image_files.find(f"{folder}/*.png") == [folder / "a.png"]
  assert image_files.find(f"{folder}/a.png") == [folder / "a.png"]
  with pytest.raises(ValueError, match=r'"\[" begins a pattern'):
    image_files.find(f"{tmp_path}/[z]/*.png")
