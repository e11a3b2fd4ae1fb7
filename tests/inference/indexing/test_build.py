"""Index of pictures: built, added to, refused where it is not whole."""

import itertools
import json
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import inference
from inference.embeddings import embed, folders
from inference.indexing import build, index_folder
from inference.searching import queries, search
from tests import runs
from tests.inference import fresh_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("model") / "run"
  fresh_run.write(folder, runs.make_config(), bias=-1.5)
  return folder


@pytest.fixture(scope="module")
def model(run):
  return inference.Model.load(run)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  for n in range(9):
    pixels = np.random.default_rng(n).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{n}.png")
  return folder


@pytest.fixture(scope="module")
def embedded(run, photos, tmp_path_factory):
  out = tmp_path_factory.mktemp("embedded") / "out"
  embed.write(
    str(run), embed.Wanted(images=str(photos), texts="", out=str(out))
  )
  return out


def _build(out, path="", **values):
  fields = {name: str(value) for name, value in values.items()}
  others = {x: fields.pop(x, "") for x in ("embeddings", "remove")}
  wanted = embed.Wanted(
    **{"images": "", "texts": "", **fields}, out=str(out), batch_size=8
  )
  return build.run(str(path), wanted, **others)


def _paths(index, query_E, num=9):
  rows = index.search(query_E[None], num).row_QK[0]
  return [entry["image_path"] for entry in index.entries(rows)]


def test_an_index_of_embeddings(embedded, model, photos, tmp_path, capsys):
  out = tmp_path / "index"
  assert _build(out, embeddings=embedded) == 0
  assert "9 pictures in 1 shards of float16" in capsys.readouterr().out
  index = index_folder.read(out)
  z_NE = np.load(embedded / "images.npy")
  np.testing.assert_array_equal(index.shards[0], z_NE.astype(np.float16))
  assert index.manifest.model["digest"] == model.digest
  assert not index.manifest.model["is_assumed"]
  assert index.thumbnail(3) is None
  query_E = model.embed_texts("a cat")[0]
  order = np.argsort(-(z_NE.astype("f2").astype(float) @ query_E))
  files = sorted(map(str, photos.iterdir()))
  assert _paths(index, query_E) == [files[n] for n in order]
  index.check_model(model.digest, "x")
  with pytest.raises(ValueError, match="was built by the model .*cannot be"):
    index.check_model("0" * 16, "other")


def test_pictures_are_added_and_removed(run, photos, model, tmp_path, capsys):
  out = tmp_path / "index"
  more = tmp_path / "more"
  shutil.copytree(photos, more)
  (more / "broken.png").write_bytes(b"no image")
  assert _build(out, run, images=photos, dtype="float32") == 0
  assert _build(out, run, images=more) == 0
  printed = capsys.readouterr().out
  assert "18 pictures in 2 shards of float32" in printed
  assert "broken.png: not_an_image" in printed or "broken.png" in printed
  index = index_folder.read(out)
  assert not (out / ".embedding").exists()
  assert all(index.thumbnail(row) for row in range(18))
  query_E = model.embed_images(photos / "3.png")[0]
  both = [str(photos / "3.png"), str(more / "3.png")]
  assert _paths(index, query_E, 2) == both
  gone = tmp_path / "gone.txt"
  gone.write_text(f"{photos / '3.png'}\n")
  assert _build(out, remove=gone) == 0
  assert "17 pictures" in capsys.readouterr().out
  after = index_folder.read(out)
  assert len(after) == 17
  assert _paths(after, query_E, 1) == [str(more / "3.png")]
  assert str(photos / "3.png") not in _paths(after, query_E, 100)
  gone.write_text(f"{more / '4.png'}\nnowhere.png\n")
  with pytest.raises(ValueError, match=r"1 of 2 pictures are not.*nowhere\.p"):
    _build(out, remove=gone)
  assert len(index_folder.read(out)) == 17
  gone.write_text(f"{more / '4.png'}\n{photos / '3.png'}\n")
  _build(out, remove=gone)
  assert len(index_folder.read(out)) == 16


def _clip_retrieval(folder, z_NE, names, cuts=()):
  """Write embeddings as clip-retrieval does."""
  for name in ("img_emb", "metadata"):
    (folder / name).mkdir(parents=True)
  parts = np.split(np.arange(len(z_NE)), cuts)
  for number, rows in enumerate(parts):
    np.save(folder / "img_emb" / f"img_emb_{number:02d}.npy", z_NE[rows])
    table = pa.table(
      {
        "image_path": [names[row] for row in rows],
        "caption": [f"caption {row}" for row in rows],
      }
    )
    pq.write_table(
      table, folder / "metadata" / f"metadata_{number:02d}.parquet"
    )
  return folder


def test_the_layout_of_clip_retrieval(
  run, embedded, model, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(build, "SHARD_ROWS", 4)
  z_NE = 3 * np.load(embedded / "images.npy")
  names = [f"https://example.org/{n}.jpg" for n in range(9)]
  folder = _clip_retrieval(tmp_path / "theirs", z_NE.astype("f2"), names, [7])
  with pytest.raises(ValueError, match="does not say what model made it"):
    _build(tmp_path / "index", embeddings=folder)
  assert _build(tmp_path / "index", run, embeddings=folder) == 0
  assert "9 embeddings were not of length 1" in capsys.readouterr().out
  index = index_folder.read(tmp_path / "index")
  assert [len(shard) for shard in index.shards] == [4, 3, 2]
  assert index.manifest.model["is_assumed"]
  lengths = np.linalg.norm(np.concatenate(index.shards).astype(float), axis=1)
  np.testing.assert_allclose(lengths, 1, atol=2e-3)
  assert index.entries([8]) == [
    {"image_path": names[8], "caption": "caption 8"}
  ]
  # An index is in that layout too.
  again = folders.read(str(tmp_path / "index"))
  assert [len(part.z_NE) for part in again.parts] == [4, 3, 2]


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lambda f: (f / "index.json").unlink(), "no whole index.*no index.json"),
    (lambda f: (f / "index.json").write_text("{}"), "no manifest that this"),
    (
      lambda f: (f / "img_emb/img_emb_0.npy").write_bytes(b"x"),
      r"img_emb_0\.npy is not the shard.*1 bytes",
    ),
    (lambda f: (f / "img_emb/img_emb_0.npy").unlink(), r"img_emb_0\.npy is no"),
    (
      lambda f: (f / "metadata/metadata_0.parquet").write_bytes(b"x"),
      r"metadata_0\.parquet cannot be read",
    ),
  ],
)
def test_an_index_that_is_not_whole(damage, message, embedded, tmp_path):
  _build(tmp_path / "index", embeddings=embedded)
  damage(tmp_path / "index")
  with pytest.raises(ValueError, match=message):
    index_folder.read(tmp_path / "index")


def test_a_kill_before_the_manifest(embedded, tmp_path, monkeypatch):
  """The shards of a build that ended too early are found by no search."""
  out = tmp_path / "index"
  _build(out, embeddings=embedded)
  before = (out / "index.json").read_bytes()

  class Killed(BaseException):
    pass

  def killed(manifest, folder):
    raise Killed

  with monkeypatch.context() as patch:
    patch.setattr(index_folder.Manifest, "write", killed)
    with pytest.raises(Killed):
      _build(out, embeddings=embedded)
  assert (out / "index.json").read_bytes() == before
  assert (out / "img_emb/img_emb_1.npy").exists()
  assert len(index_folder.read(out)) == 9
  _build(out, embeddings=embedded)
  assert len(index_folder.read(out)) == 18
  with monkeypatch.context() as patch:
    patch.setattr(index_folder.Manifest, "write", killed)
    with pytest.raises(Killed):
      _build(tmp_path / "new", embeddings=embedded)
  with pytest.raises(ValueError, match="no whole index"):
    index_folder.read(tmp_path / "new")
  _build(tmp_path / "new", embeddings=embedded)
  assert len(index_folder.read(tmp_path / "new")) == 9


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({}, "give what to index"),
    ({"images": "a", "embeddings": "b"}, "give what to index"),
    ({"images": "a"}, "give the model"),
    ({"embeddings": "nowhere"}, "--embeddings=nowhere has no embeddings"),
    ({"embeddings": "s3://a/b"}, "--embeddings must be a folder on a disk"),
    ({"embeddings": "nowhere", "dtype": "int8"}, "--dtype must be one of"),
    ({"remove": "nowhere.txt"}, r"--remove=nowhere\.txt is no file"),
  ],
)
def test_flags_that_are_refused(flags, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    _build(tmp_path / "index", **flags)
  assert not list(tmp_path.glob("index/*.json"))


def test_rows_that_are_no_embeddings(run, embedded, tmp_path):
  z_NE = np.load(embedded / "images.npy")
  z_NE[4] = 0
  folder = _clip_retrieval(tmp_path / "a", z_NE, [*"abcdefghi"])
  with pytest.raises(ValueError, match=r"img_emb_00\.npy: 1 .* is row 4"):
    _build(tmp_path / "index", run, embeddings=folder)
  folder = _clip_retrieval(tmp_path / "b", z_NE[:, :-1], [*"abcdefghi"])
  with pytest.raises(ValueError, match="cannot be its model"):
    _build(tmp_path / "index", run, embeddings=folder)
  file = folder / "img_emb" / "img_emb_00.npy"
  np.save(file, z_NE[:5])
  with pytest.raises(ValueError, match="has 5 rows, and its list.* 9"):
    _build(tmp_path / "index", run, embeddings=folder)
  facts = json.loads((embedded / "embed.json").read_text())
  del facts["digest"]
  old = shutil.copytree(embedded, tmp_path / "old")
  (old / "embed.json").write_text(json.dumps(facts))
  with pytest.raises(ValueError, match="has no digest of the model"):
    _build(tmp_path / "index", embeddings=old)


def test_search_of_an_index_and_of_files(
  run, embedded, photos, tmp_path, capsys
):
  _build(tmp_path / "index", embeddings=embedded)
  capsys.readouterr()
  query = queries.Query.of_flags("", [str(photos / "5.png")], [], 1.0)
  found = []
  for path, index, images in (
    ("", tmp_path / "index", ""),
    (run, "", photos),
    (run, "", photos / "*.png"),
  ):
    out = tmp_path / f"{len(found)}.png"
    search.run(
      str(path),
      query,
      index=str(index) if index else "",
      images=str(images),
      out=str(out),
      num_results=3,
      fold=0,
      as_json=True,
    )
    found.append(json.loads(capsys.readouterr().out))
    with Image.open(out) as sheet:
      assert sheet.size[0] > 100
  for one in found:
    assert one["results"][0]["path"] == str(photos / "5.png")
    assert one["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    paths = [result["path"] for result in one["results"]]
    assert paths == [result["path"] for result in found[0]["results"]]


def test_search_says_how_it_found(run, model, tmp_path, capsys, monkeypatch):
  """By an approximate index, exactly, and less the means."""
  # Loaded once, it is compiled once.
  monkeypatch.setattr(inference.Model, "load", lambda path: model)
  rng = np.random.default_rng(0)
  z_NE = rng.normal(size=(1_100, model.embed_dim)).astype(np.float32)
  folder = _clip_retrieval(
    tmp_path / "a", z_NE, [f"{n}.png" for n in range(1_100)]
  )
  texts = tmp_path / "texts.txt"
  words = ("red", "blue", "cat", "dog", "man", "car", "hand", "face")
  pairs = itertools.permutations(words, 2)
  texts.write_text("".join(f"{a} {b}\n" for a, b in pairs))
  index = tmp_path / "index"
  build.run(
    str(run),
    embed.Wanted(images="", texts="", out=index),
    embeddings=str(folder),
    approximate_method="ivf",
    queries=str(texts),
  )
  said = capsys.readouterr().out
  assert "1,100 pictures in 1 shards" in said
  assert "ivf (nlist=28, dtype=float16, nprobe=" in said
  assert f" texts of {texts}" in said

  def found(as_json=True, **values):
    search.run(
      str(run),
      queries.Query.of_flags("a cat", [], [], 1.0),
      index=str(index),
      images="",
      out=str(tmp_path / "sheet.png"),
      num_results=5,
      fold=0,
      as_json=as_json,
      **values,
    )
    out = capsys.readouterr().out
    return json.loads(out) if as_json else out

  fast, slow = found(), found(is_exact=True)
  assert (fast["method"], slow["method"]) == ("ivf", "exact")
  assert slow["recall"] is None
  assert slow["centred"] is fast["centred"] is None
  assert fast["recall"]["k"] == 10
  assert fast["recall"]["queries"]["source"] == str(texts)
  scores = {x["path"]: x["score"] for x in slow["results"]}
  both = [x for x in fast["results"] if x["path"] in scores]
  assert len(both) >= 4
  assert all(scores[x["path"]] == x["score"] for x in both)
  assert "Searched by ivf" in found(as_json=False)
  centred = found(is_centred=True, centre_texts=str(texts))
  assert centred["method"] == "exact"
  assert centred["centred"] == {
    "num_pictures": 1_100,
    "num_texts": 56,
    "texts": str(texts),
  }
  z_NE = np.concatenate(index_folder.read(index).shards).astype(float)
  z_NE -= z_NE.mean(axis=0)
  lines = texts.read_text().splitlines()
  query_E = model.embed_texts("a cat")[0] - model.embed_texts(lines).mean(
    axis=0
  )
  score_N = z_NE @ query_E / np.linalg.norm(z_NE, axis=1)
  score_N /= np.linalg.norm(query_E)
  assert centred["results"][0]["path"] == f"{score_N.argmax()}.png"
  assert centred["results"][0]["score"] == pytest.approx(
    score_N.max(), abs=1e-4
  )
  with pytest.raises(ValueError, match="--centre needs --centre_texts=FILE"):
    found(is_centred=True)
  with pytest.raises(ValueError, match="--centre_texts needs --centre"):
    found(centre_texts=str(texts))
  one = tmp_path / "one.txt"
  one.write_text("alone\n")
  with pytest.raises(ValueError, match="at least 2 --centre_texts"):
    found(is_centred=True, centre_texts=str(one))


@pytest.mark.slow
def test_a_full_disk(embedded, tmp_path, capsys):
  """Nothing half-written is searched, and the command goes on with room."""
  many = shutil.copytree(embedded, tmp_path / "many")
  z_NE = np.tile(np.load(embedded / "images.npy"), (3_000, 1))
  np.save(many / "images.npy", z_NE)
  facts = json.loads((embedded / "embed.json").read_text())
  facts["images"] = [f"{n}.png" for n in range(len(z_NE))]
  (many / "embed.json").write_text(json.dumps(facts))
  disk = tmp_path / "disk"
  with runs.small_disk(disk, 64 << 10):
    with pytest.raises(OSError, match="No space left"):
      _build(disk / "index", embeddings=many)
    with pytest.raises(ValueError, match="is no whole index"):
      index_folder.read(disk / "index")
    subprocess.run(("mount", "-o", "remount,size=64m", str(disk)), check=True)
    _build(disk / "index", embeddings=many)
    assert len(index_folder.read(disk / "index")) == 27_000
    assert not [*disk.rglob("*.tmp-*")]
