"""Sets by name at gs:// and s3://, of emulators on this machine."""

import http.server
import importlib
import json
import pathlib
import sys
import threading

import fsspec
import numpy as np
import pytest

from evaluators import embedding
from evaluators.figures import set_gallery
from inference.evaluation import compare, evaluate_sets
from input_pipeline.storage import files
from runtime.storage import bucket_path, unfinished, whole_files
from tests import bucket_emulators as emulators
from tests import runs
from tests.inference import fresh_run, wds_folders

LABELS = [i % 6 for i in range(24)]
NAMES = ["cars", "flickr30k", "flickr8k"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Return a folder with a run of random weights and three sets."""
  made = tmp_path_factory.mktemp("remote")
  fresh_run.write(made / "run", runs.make_config({}))
  sets = made / "sets"
  wds_folders.classification(sets / "wds_cars_test", LABELS)
  wds_folders.retrieval(sets / "wds_flickr30k", [[f"{i}a"] for i in range(9)])
  # A standard form: a table of captions, and images.
  (sets / "flickr8k").mkdir()
  lines = ["image,caption"]
  for number, image in enumerate(wds_folders.noise(6)):
    (sets / f"flickr8k/{number}.jpg").write_bytes(image)
    lines += [f"{number}.jpg,{number}a", f"{number}.jpg,{number}b"]
  (sets / "flickr8k/flickr8k_test_karpathy.txt").write_text("\n".join(lines))
  return made


@pytest.fixture(scope="module")
def local(folder):
  """Return the files of an evaluation of the local folder."""
  _run(folder, folder / "out", folder / "cache", str(folder / "sets"))
  return _files(folder / "out", folder / "sets", folder / "cache")


def _run(folder, out, cache, data_root, names=NAMES):
  evaluate_sets.run(
    str(folder / "run"),
    suite="",
    names=names,
    data_root=data_root,
    out=str(out),
    cache_dir=str(cache),
    batch_size=8,
    num_threads=2,
  )


def _files(out, data_root, cache):
  """Return the JSON and Markdown of a folder, without addresses."""
  return {
    str(path.relative_to(out)): path.read_text()
    .replace(str(data_root), "ROOT")
    .replace(str(cache), "CACHE")
    for path in sorted(out.rglob("*"))
    if path.suffix in (".json", ".md")
  }


def _upload(folder: pathlib.Path, url: str) -> fsspec.AbstractFileSystem:
  fs, name = fsspec.url_to_fs(url)
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      fs.put_file(str(path), f"{name}/{path.relative_to(folder)}")
  return fs


@pytest.mark.slow
def test_as_the_same_folder_on_disk(
  folder, local, bucket, tmp_path, monkeypatch
):
  root, cache = f"{bucket}/sets", tmp_path / "cache"
  fs = _upload(folder / "sets", root)
  _run(folder, tmp_path / "out", cache, root)
  assert _files(tmp_path / "out", root, cache) == local
  # Neither labels nor images are read again, but for those of the page.
  real = files.read_range

  def refuse(path, *args, **kwargs):
    assert not path.startswith(bucket) or not path.endswith((".tar", ".jpg"))
    return real(path, *args, **kwargs)

  with monkeypatch.context() as patch:
    patch.setattr(embedding.Embedder, "stream", _refuse)
    patch.setattr(files, "read_range", refuse)
    patch.setattr(set_gallery, "panels", lambda *args, **kwargs: [])
    _run(folder, tmp_path / "again", cache, f"{root}/")
  assert _files(tmp_path / "again", root, cache) == local
  # Objects that were replaced, of a tar and of an image, are other versions.
  other = tmp_path / "wds_cars_test"
  wds_folders.classification(other, LABELS[::-1])
  _upload(other, f"{root}/wds_cars_test")
  fs.pipe(f"{root}/flickr8k/5.jpg", wds_folders.noise(7)[6])
  _run(folder, tmp_path / "other", cache, root)
  before, after = (
    json.loads(texts["results.json"])
    for texts in (local, _files(tmp_path / "other", root, cache))
  )
  assert {
    name: before[name]["protocol"]["data_digest"]
    == after[name]["protocol"]["data_digest"]
    for name in NAMES
  } == {"cars": False, "flickr30k": True, "flickr8k": False}


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["s3"], indirect=True)
def test_results_and_embeddings_in_a_bucket(
  folder, local, bucket, tmp_path, monkeypatch
):
  monkeypatch.setattr(evaluate_sets, "_INDICES", str(tmp_path / "indices"))
  out, cache, root = f"{bucket}/out", f"{bucket}/cache", str(folder / "sets")
  _run(folder, out, cache, root)
  written = bucket_path.make(out)
  got = {
    name: (written / name)
    .read_text()
    .replace(str(root), "ROOT")
    .replace(str(tmp_path / "indices"), "CACHE")
    for name in whole_files.sizes(written)
    if name.endswith((".json", ".md"))
  }
  assert got == local
  names = whole_files.sizes(written)
  assert "report.html" in names
  assert all(f"items/{name}.npz" in names for name in NAMES)
  with monkeypatch.context() as patch:
    patch.setattr(embedding.Embedder, "stream", _refuse)
    patch.setattr(set_gallery, "panels", lambda *args, **kwargs: [])
    _run(folder, f"{bucket}/again", cache, root)
  compare.run(out, f"{bucket}/again", out=f"{bucket}/compared")
  assert unfinished.names(bucket_path.make(f"{bucket}/compared")) == [
    "comparison.json"
  ]


def _refuse(*args, **kwargs):
  raise AssertionError("a forward pass")


@pytest.mark.slow
@pytest.mark.parametrize("emulator", ["gs"], indirect=True)
def test_by_main(folder, local, bucket, tmp_path):
  root = f"{bucket}/sets"
  _upload(folder / "sets", root)
  (tmp_path / "suite.txt").write_text("\n".join(NAMES))
  result = runs.finish(
    _start(folder, tmp_path, root, f"--suite={tmp_path / 'suite.txt'}")
  )
  assert result.code == 0, result.stderr
  assert "Traceback" not in result.stderr
  assert _files(tmp_path / "out", root, tmp_path / "cache") == local
  result = runs.finish(
    _start(folder, tmp_path, "gs://nobody-s/sets", "--suite=datacomp38")
  )
  assert result.code == 1
  assert result.stderr == (
    "error: --data_root=gs://nobody-s/sets: there is no bucket nobody-s\n"
  )


def _start(folder, tmp_path, data_root, *more):
  return runs.Runner(None, None).start(
    None,
    "--task=evaluate",
    f"--init_from={folder / 'run'}",
    f"--data_root={data_root}",
    f"--out={tmp_path / 'out'}",
    f"--cache_dir={tmp_path / 'cache'}",
    "--batch_size=8",
    *more,
    config=None,
  )


def _message(tmp_path, data_root, names=("cars", "vtab/dtd", "flickr30k")):
  with pytest.raises((ValueError, OSError, ImportError)) as raised:
    _run(tmp_path, tmp_path / "out", tmp_path / "cache", data_root, names)
  assert not (tmp_path / "out").exists()
  return str(raised.value)


def test_a_bucket_that_is_not_there(emulator, tmp_path):
  root = f"{emulator.scheme}://bucket-of-nobody/sets"
  assert _message(tmp_path, root) == (
    f"--data_root={root}: there is no bucket bucket-of-nobody"
  )
  path = f"{root}/wds_own"
  said = _message(tmp_path, "", [path])
  assert said.startswith(f"--sets: {path} is no set: expected classnames.txt")


def test_sets_that_are_not_there(bucket, tmp_path):
  root = f"{bucket}/sets"
  said = _message(tmp_path, root)
  assert said.startswith("3 problems:\n")
  for key in ("cars", "vtab/dtd", "flickr30k"):
    assert f"--data_root: {key} is not below {root}: looked for" in said


@pytest.mark.parametrize("scheme", emulators.SCHEMES)
def test_a_client_that_is_not_installed(tmp_path, monkeypatch, scheme):
  package = {"gs": "gcsfs", "s3": "s3fs"}[scheme]
  # fsspec keeps the class of a client that this process has used.
  classes = importlib.import_module("fsspec.registry")._registry
  monkeypatch.delitem(classes, scheme, raising=False)
  monkeypatch.setitem(sys.modules, package, None)
  for names, data_root, start in (
    (("cars", "vtab/dtd"), f"{scheme}://b/sets", "--data_root={}://b/sets: "),
    ((f"{scheme}://b/wds_own",), "", "--sets={}://b/wds_own: "),
  ):
    said = _message(tmp_path, data_root, names)
    assert said.startswith(start.format(scheme))
    assert f"{scheme}:// needs the package {package}: pip install" in said


class _Refusing(http.server.BaseHTTPRequestHandler):
  """Server that refuses everybody, as both stores do."""

  def do_GET(self):
    said = "<Code>AccessDenied</Code><Message>Access denied.</Message>"
    body = f"<Error>{said}</Error>".encode()
    if self.path.startswith(("/storage/", "/download/", "/b/")):
      error = {"code": 403, "message": "Access denied."}
      body = json.dumps({"error": error}).encode()
    self.send_response(403)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(body)

  do_HEAD = do_GET  # noqa: N815

  def log_message(self, *args):
    pass


@pytest.mark.parametrize("scheme", emulators.SCHEMES)
def test_credentials_that_are_refused(tmp_path, monkeypatch, capsys, scheme):
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
      port = server.server_address[1]
      with emulators.connected(emulators.variables(scheme, port)):
        root = f"{scheme}://a-bucket/sets"
        said = _message(tmp_path, root)
    finally:
      server.shutdown()
      thread.join()
  assert said.startswith(f"--data_root={root}: {root}/wds_cars_test/test/nshar")
  assert "\n" not in said
  assert said.endswith("Access denied.")
  assert "Traceback" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Sending a large body")
def test_large_images_are_not_read_before_the_audit(
  bucket, tmp_path, monkeypatch
):
  rng = np.random.default_rng(0)
  large = rng.integers(0, 256, 2 << 20, np.uint8).tobytes()
  wds_folders.write(
    tmp_path / "wds_cars_test",
    [{"png": large, "cls": b"9"}] * 6,
    {
      "classnames.txt": "a\nb\n",
      "zeroshot_classification_templates.txt": "a {c}",
    },
  )
  root = f"{bucket}/sets"
  _upload(tmp_path / "wds_cars_test", f"{root}/wds_cars_test")
  real, num_bytes = files.read_range, []

  def count(path, start, stop, **kwargs):
    num_bytes.append(stop - start)
    return real(path, start, stop, **kwargs)

  monkeypatch.setattr(files, "read_range", count)
  said = _message(tmp_path, root, ["cars"])
  assert f"{root}/wds_cars_test/classnames.txt has 2 names" in said
  assert "got label 9" in said
  # Index and audit read a header or two of each image.
  assert 0 < sum(num_bytes) < len(large)
