"""Captions of pictures: the table, its source, and what is refused."""

import io
import json
import tarfile

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from absl.testing import flagsaver
from flax import traverse_util
from PIL import Image

import inference
from evaluators.generating import settings
from inference.captioning import caption
from input_pipeline import sources
from runtime import mesh as mesh_lib
from tasks import caption as task
from tests.inference import fresh_run
from tests.inference.generating import decoder_runs
from tests.input_pipeline.sources import pairs

_TEXT = "red owl"
_NUM = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Return a run whose decoder says the same of each picture."""
  folder = tmp_path_factory.mktemp("runs") / "run"
  script = [*(byte + 2 for byte in _TEXT.encode()), 1]
  decoder_runs.write(folder, decoder_runs.make_config(), script)
  return folder


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
  """Load and compile a model once for all tests, on one device."""
  load = inference.Model.load
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])

  def cached(path, batch_size):
    if path not in _LOADED:
      _LOADED[path] = load(path, batch_size=batch_size, mesh=mesh)
    return _LOADED[path]

  monkeypatch.setattr(inference.Model, "load", cached)


_LOADED: dict[str, inference.Model] = {}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Return a folder of pictures, the third of which is broken."""
  folder = tmp_path_factory.mktemp("photos")
  for n in range(_NUM):
    (folder / f"{n}.png").write_bytes(_png(n))
  (folder / "2.png").write_bytes(b"GIF")
  return folder


def _png(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "png")
  return file.getvalue()


def _opened(tmp_path, format, out, **fields):
  """Return the records of a source of pairs."""
  source = pairs.source(format, out, **fields)
  context = pairs.context(tmp_path)
  return sources.FORMATS[format].open_split(source, "", context)


def _run(run, out, images, **fields):
  wanted = caption.Wanted(
    images=str(images), out=str(out), batch_size=2, **fields
  )
  return caption.run(str(run), wanted)


@pytest.mark.slow
def test_a_source_reads_the_captions_of_a_folder(run, photos, tmp_path, capsys):
  out = tmp_path / "captions.jsonl"
  with flagsaver.flagsaver(
    workdir=str(run), images=str(photos), out=str(out), batch_size=2
  ):
    assert task.run() == 0
  printed = capsys.readouterr().out
  assert f"4 captions of {_NUM} pictures" in printed
  assert "2.png: image_broken" in printed
  assert f"--config.data.sources.main.image_root={photos}" in printed
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  names = [str(photos / f"{n}.png") for n in (0, 1, 3, 4)]
  assert rows == [{"image_path": name, "caption": _TEXT} for name in names]
  facts = json.loads((tmp_path / "captions.jsonl.json").read_text())
  model = inference.Model.load(str(run), batch_size=2)
  assert facts["model"]["digest"] == model.digest
  assert facts["decoder"] == model.captioner.digest
  assert facts["generation"]["method"] == "greedy"
  assert facts["generation"]["max_tokens"] == 16
  assert (facts["num_captions"], facts["num_left_out"]) == (4, 1)
  assert facts["num_different_captions"] == 1
  assert facts["left_out"][0].startswith(f"{photos}/2.png: image_broken")
  records = _opened(tmp_path, "table", out, image_root=str(photos))
  assert len(records) == 4
  assert records[2].image == (photos / "3.png").read_bytes()
  assert [*records[2].texts.values()] == [(_TEXT,)]


def test_a_source_reads_captions_and_pictures_of_a_tar(run, tmp_path, capsys):
  with tarfile.open(tmp_path / "a.tar", "w") as tar:
    for n in range(3):
      for name, data in ((f"{n}.png", _png(n)), (f"{n}.url", b"http://x/a")):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
  out = tmp_path / "captions.parquet"
  chosen = settings.Settings(top_p=0.5, seed=2, max_tokens=4)
  _run(
    *(run, out, tmp_path / "a.tar"),
    columns="url",
    stores_images=True,
    settings=chosen,
    cache_dir=str(tmp_path / "cache"),
  )
  assert "--config.data.sources.main.format=parquet" in capsys.readouterr().out
  rows = pq.read_table(out).to_pylist()
  assert [row["url"] for row in rows] == ["http://x/a"] * 3
  assert rows[1]["image_path"].endswith("a.tar#1")
  facts = json.loads(pq.read_metadata(out).metadata[b"diptych"])
  assert facts["generation"]["method"] == "nucleus"
  assert facts["generation"]["seed"] == 2
  assert facts["num_cut"] == 3
  records = _opened(tmp_path, "parquet", out)
  assert records[1].image == _png(1)
  assert [*records[1].texts.values()] == [("red",)]


def test_captions_are_judged_by_references(run, photos, tmp_path, capsys):
  references = tmp_path / "references.jsonl"
  _write_references(references, {str(n): [_TEXT, "a bird"] for n in range(4)})
  out = tmp_path / "out.jsonl"
  judged = {"references": str(references), "tokens": "regex"}
  with pytest.raises(ValueError, match=r"1 pictures without references, as"):
    _run(run, out, photos, **judged)
  _run(run, out, f"{photos}/[0-3].png", **judged)
  record = json.loads((tmp_path / "out.jsonl.results.json").read_text())
  record = record["captions"]
  # The broken picture has an empty caption.
  assert (record["num_images"], record["num_empty"]) == (4, 1)
  assert 0.5 < record["ROUGE-L (regex tokens)"] <= 0.75 + 1e-6
  assert record["protocol"]["generation"]["method"] == "greedy"
  assert "ROUGE-L" in capsys.readouterr().out
  with pytest.raises(ValueError, match="--references: there is no"):
    _run(
      run, tmp_path / "b.csv", photos, references="none.jsonl", tokens="regex"
    )


@pytest.mark.slow
def test_a_model_scores_captions_beside_references(
  run, photos, tmp_path, capsys
):
  """All captions are one text; domains are judged alone too."""
  references = tmp_path / "references.jsonl"
  texts = {str(n): [_TEXT, "a bird"] if n else ["a cat"] for n in (0, 1, 3, 4)}
  rows = [
    {"image_id": x, "references": some, "domain": "ab"[int(x) > 1]}
    for x, some in texts.items()
  ]
  references.write_text("\n".join(map(json.dumps, rows)))
  objects = {
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "red"}],
    "images": [{"id": n} for n in (0, 1, 3, 4)],
    "annotations": [{"image_id": 4, "category_id": 2}],
  }
  (tmp_path / "instances.json").write_text(json.dumps(objects))
  (tmp_path / "words.json").write_text('{"cat": [], "red": ["a red"]}')
  judged = {
    **{"references": str(references), "tokens": "regex"},
    "scorer": str(_negated(run, tmp_path / "scorer")),
    "objects": str(tmp_path / "instances.json"),
    "synonyms": str(tmp_path / "words.json"),
  }
  paths = [photos / f"{n}.png" for n in (0, 1, 3, 4)]
  _run(run, tmp_path / "out.jsonl", f"{photos}/[0134].png", **judged)
  results = json.loads((tmp_path / "out.jsonl.results.json").read_text())
  record = results["captions"]
  model = inference.Model.load(judged["scorer"], batch_size=2)
  zimg_NE = model.embed_images(paths)
  zcap_NE = model.embed_texts([f"A photo depicts {_TEXT}"] * 4)
  expected = 2.5 * np.maximum((zimg_NE * zcap_NE).sum(axis=1), 0)
  assert (expected > 0).all()
  name = "CLIPScore (scorer)"
  assert record[name] == pytest.approx(expected.mean(), abs=1e-5)
  assert record["parts"]["a"][name] == pytest.approx(
    expected[:2].mean(), abs=1e-5
  )
  # References of the second domain have the caption itself, of cosine 1.
  assert record["parts"]["b"]["RefCLIPScore (scorer)"] == pytest.approx(
    (2 * expected[2:] / (expected[2:] + 1)).mean(), abs=1e-5
  )
  protocol = record["protocol"]
  assert protocol["scorer_prompt"] == "A photo depicts "
  assert protocol["scorer_digest"] == model.digest
  assert protocol["num_unscored"] == 0
  # "red" is in image 4, and in the references of all but the first.
  assert results["objects"]["CHAIRs (regex words)"] == 1 / 4
  assert "CLIPScore" in capsys.readouterr().out


def _negated(run, folder):
  """Write a run whose texts have the opposite embeddings; return its folder.

  Captions of the random run are unlike all pictures.
  """
  model = inference.Model.load(str(run), batch_size=2)
  params = {**model.loaded.params, "decoder": model.captioner.decoder.params}
  flat = traverse_util.flatten_dict(params, sep="/")
  flat["txt/projection/kernel"] = -flat["txt/projection/kernel"]
  fresh_run.write_params(folder, decoder_runs.make_config(), flat)
  return folder


def _write_references(path, texts):
  rows = [{"image_id": x, "references": some} for x, some in texts.items()]
  path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def test_flags_that_cannot_be_used(run, photos, tmp_path):
  (tmp_path / "there.csv").write_text("x")
  for fields, message in (
    ({"out": tmp_path / "x.txt"}, "--out must end in"),
    ({"out": tmp_path / "there.csv"}, "is there already"),
    ({"out": tmp_path / "x.csv", "stores_images": True}, "--store_images need"),
    ({"images": tmp_path / "none"}, "--images"),
    ({"settings": settings.Settings(top_p=2)}, "--top_p"),
    ({"settings": settings.Settings(max_tokens=17)}, "--max_tokens must be at"),
    ({"columns": "caption"}, "--columns"),
    ({"references_split": "test"}, "--references_split needs"),
    ({"scorer": "model"}, "--scorer needs --references"),
  ):
    values = {"out": tmp_path / "out.csv", "images": photos} | fields
    with pytest.raises(ValueError, match=message):
      _run(run, **values)
  assert {x.name for x in tmp_path.iterdir()} == {"there.csv"}


@pytest.mark.slow
def test_nothing_is_written_without_a_caption(run, photos, tmp_path):
  out = tmp_path / "out.jsonl"
  with pytest.raises(ValueError, match=r"none of 1 pictures .*image_broken"):
    _run(run, out, photos / "2.png")
  folder = tmp_path / "run"
  decoder_runs.write(folder, decoder_runs.make_config(), [1])
  with pytest.raises(ValueError, match=r"none of 5 pictures .*is empty"):
    _run(folder, out, photos)
  assert not out.exists()
