"""Shards in clip-retrieval's layout: rows, names, resumption, and reading."""

import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import inference
from inference.embeddings import embed, folders, jobs, shards
from inference.indexing import build, index_folder
from runtime import failures
from tests import runs
from tests.inference import fresh_run

_BROKEN, _SILENT = 4, 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("model") / "run"
  fresh_run.write(folder, runs.make_config())
  return str(folder)


def _png(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
  """Return a tar of 12 pictures: one is broken, and one has no caption."""
  path = tmp_path_factory.mktemp("tar") / "a.tar"
  with tarfile.open(path, "w") as file:
    for n in range(12):
      members = {"png": b"no image" if n == _BROKEN else _png(n)}
      if n != _SILENT:
        members["txt"] = f"caption {n}".encode()
      for kind, data in members.items():
        info = tarfile.TarInfo(f"{n:02}.{kind}")
        info.size = len(data)
        file.addfile(info, io.BytesIO(data))
  return path


def _wanted(tar, out, **fields):
  fields = {"images": str(tar), "texts": "", "batch_size": 8, **fields}
  cache = str(tar.parent / "cache")
  return embed.Wanted(
    out=out, layout="shards", shard_rows=5, cache_dir=cache, **fields
  )


def _shard(out, number):
  table = pq.read_table(out / "metadata" / f"metadata_{number}.parquet")
  return np.load(out / "img_emb" / f"img_emb_{number}.npy"), table


def test_pictures_and_captions(run, tar, tmp_path, capsys):
  out = tmp_path / "out"
  embed.run(run, _wanted(tar, out, captions=(), dtype="float32"))
  assert "10 images and 10 texts" in capsys.readouterr().out
  model = inference.Model.load(run)
  kept = [n for n in range(12) if n not in (_BROKEN, _SILENT)]
  parts = [_shard(out, number) for number in range(3)]
  assert [len(z) for z, _ in parts] == [4, 4, 2]
  z_NE = np.concatenate([z for z, _ in parts])
  expected = model.embed_images([_png(n) for n in kept])
  np.testing.assert_allclose(z_NE, expected, atol=2e-6)
  names = [x for _, t in parts for x in t["image_path"].to_pylist()]
  captions = [x for _, t in parts for x in t["caption"].to_pylist()]
  assert names == [f"{tar}#{n:02}" for n in kept]
  assert captions == [f"caption {n}" for n in kept]
  texts = [
    np.load(out / "text_emb" / f"text_emb_{number}.npy") for number in range(3)
  ]
  np.testing.assert_allclose(
    np.concatenate(texts), model.embed_texts(captions), atol=2e-6
  )
  lines = (out / "left_out.jsonl").read_text().splitlines()
  kinds = [(x["index"], x["kind"]) for x in map(json.loads, lines)]
  assert kinds == [(_BROKEN, "image_broken"), (_SILENT, "caption_missing")]
  facts = json.loads((out / "embed.json").read_text())
  assert facts["digest"] == model.digest
  assert (facts["num_images"], facts["num_shards"]) == (10, 3)
  assert not (out / ".unfinished").exists()
  read = folders.read(str(out))
  assert read.facts == facts
  assert sum(len(part.z_NE) for part in read.parts) == 10


def test_without_captions_only_the_broken_one_is_left_out(run, tar, tmp_path):
  out = tmp_path / "out"
  embed.run(run, _wanted(tar, out))
  parts = [_shard(out, number) for number in range(3)]
  assert [len(z) for z, _ in parts] == [4, 5, 2]
  assert {z.dtype for z, _ in parts} == {np.dtype("float16")}
  captions = [x for _, t in parts for x in t["caption"].to_pylist()]
  assert captions.count(None) == 1
  assert not (out / "text_emb").exists()


def test_a_kill_between_shards(run, tar, tmp_path, monkeypatch):
  out, again = tmp_path / "out", tmp_path / "again"
  embed.run(run, _wanted(tar, again))
  make, calls = jobs.embed_pictures, []

  def killed(folder, job, inputs, bar):
    calls.append(inputs.start)
    if inputs.start == 10:
      raise KeyboardInterrupt
    return make(folder, job, inputs, bar)

  with monkeypatch.context() as patch:
    patch.setattr(jobs, "embed_pictures", killed)
    with pytest.raises(KeyboardInterrupt):
      embed.run(run, _wanted(tar, out))
  assert calls == [0, 5, 10]
  with pytest.raises(ValueError, match="not whole yet"):
    folders.read(str(out))
  with pytest.raises(failures.RunError, match="shard_rows: 5 in the folder, 6"):
    embed.run(
      run,
      _wanted(tar, out).__class__(
        **{**vars(_wanted(tar, out)), "shard_rows": 6}
      ),
    )
  calls.clear()
  with monkeypatch.context() as patch:
    patch.setattr(
      jobs,
      "embed_pictures",
      lambda *args: calls.append(args[2].start) or make(*args),
    )
    embed.run(run, _wanted(tar, out))
  assert calls == [10]
  files = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
  assert files == sorted(
    p.relative_to(out) for p in out.rglob("*") if p.is_file()
  )
  for file in files:
    assert (out / file).read_bytes() == (again / file).read_bytes(), file


def test_texts_alone(run, tmp_path):
  texts = tmp_path / "texts.txt"
  texts.write_text("".join(f"text {n}\n" for n in range(12)))
  out = tmp_path / "out"
  wanted = _wanted(texts, out, images="", texts=str(texts), dtype="float32")
  embed.run(run, wanted)
  parts = [
    np.load(out / "text_emb" / f"text_emb_{number}.npy") for number in range(3)
  ]
  expected = inference.Model.load(run).embed_texts(
    f"text {n}" for n in range(12)
  )
  np.testing.assert_allclose(np.concatenate(parts), expected, atol=2e-6)
  table = pq.read_table(out / "metadata" / "metadata_2.parquet")
  assert table["caption"].to_pylist() == ["text 10", "text 11"]


def test_digits_are_those_of_clip_retrieval(tmp_path):
  made = [shards._Shard(tmp_path, 3, num, 5, 5 * num) for num in (9, 10)]
  names = [shard._path("img_emb").name for shard in made]
  assert names == ["img_emb_3.npy", "img_emb_03.npy"]


def test_an_index_of_a_tar_has_captions(run, tar, tmp_path):
  wanted = _wanted(tar, tmp_path / "index")
  build.run(run, wanted)
  index = index_folder.read(tmp_path / "index")
  assert len(index) == 11
  entry = index.entries([0])[0]
  assert entry == {"image_path": f"{tar}#00", "caption": "caption 0"}


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"texts": "x"}, "--captions in place of --texts"),
    ({"images": "", "captions": ()}, "nothing to embed"),
    ({"images": "", "texts": "x", "captions": ()}, "give --images too"),
    ({"dtype": "int8"}, "--dtype must be one of"),
  ],
)
def test_mistakes(fields, words, tar, tmp_path):
  with pytest.raises(ValueError, match=words):
    embed.run("nowhere", _wanted(tar, tmp_path / "out", **fields))
  assert not (tmp_path / "out").exists()
