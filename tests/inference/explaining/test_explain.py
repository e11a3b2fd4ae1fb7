"""--task=explain: files, values and messages."""

import dataclasses
import json
import types

import numpy as np
import pytest
from PIL import Image

from evaluators import saliency
from inference import model as model_lib
from inference.explaining import explain, explain_page, heat_maps
from input_pipeline.images import image_ops, naflex
from models import naflex as naflex_tower
from models.pretrained import mapping
from runtime import failures
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained.families import mirror

TEXTS = ("a cat", "Ein Hund.", "猫")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Return a folder of two images and a file that is none."""
  folder = tmp_path_factory.mktemp("photos")
  rng = np.random.default_rng(0)
  for name, size in (("a b.png", (20, 30)), ("c.jpg", (40, 24))):
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(
      folder / name
    )
  (folder / "broken.png").write_text("no image")
  return folder


def _write_run(folder, **changes):
  config = runs.make_config(changes)
  fresh_run.write(folder, config)
  return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return _write_run(tmp_path_factory.mktemp("run") / "run")


def _explain(model, photos, out, method="windows", texts=TEXTS, **fields):
  return explain.run(
    str(model),
    images=str(photos),
    texts=",".join(texts),
    method=method,
    out=str(out),
    batch_size=64,
    **fields,
  )


def _embedded(model, images):
  """Return embeddings of images as --task=embed makes them."""
  return model.make_embedder(64).images(model.params, images)


@pytest.mark.slow
def test_windows(run, photos, tmp_path, capsys):
  out = tmp_path / "out"
  assert _explain(run, photos, out) == 0
  facts = json.loads((out / "explain.json").read_text())
  model = model_lib.load(run)
  inputs = model.make_inputs()
  ztxt = model.make_embedder(64).texts(
    model.params, inputs.tokenizer(list(TEXTS))
  )
  names = ["a b.png", "c.jpg"]
  assert [image["path"] for image in facts["images"]] == [
    str(photos / name) for name in names
  ]
  for name, image in zip(names, facts["images"], strict=True):
    pixels = inputs.image_protocol.apply(
      image_ops.decode((photos / name).read_bytes())
    )
    heat = saliency.windows(
      lambda crops: _embedded(model, crops), pixels, ztxt, window=2, stride=1
    )
    assert image["size"] == [16, 16]
    assert image["constants"] == {"window": 2, "stride": 1, "num_crops": 225}
    for t, one in enumerate(image["maps"]):
      assert one["text"] == TEXTS[t]
      raw = np.load(out / one["array"], allow_pickle=False)
      assert raw.dtype == np.float32
      # Not scaled; float32 sums in other batches.
      np.testing.assert_allclose(raw, heat.map_TYX[t], atol=2e-6)
      assert one["lowest"] == raw.min()
      assert one["highest"] == raw.max()
      assert one["drawn"] == [0, max(0, raw.max())]
      assert one["similarity"] == pytest.approx(heat.sim_T[t], abs=2e-6)
      assert one["logit"] == pytest.approx(
        model.scale * one["similarity"] + model.bias
      )
      crops = heat.sim_MT[:, t]
      np.testing.assert_allclose(
        one["similarity_of_crops"], [crops.min(), crops.max()], atol=2e-6
      )
      with Image.open(out / one["picture"]) as picture:
        assert picture.size[1] > 256
  (broken,) = facts["left_out"]
  assert broken["path"] == str(photos / "broken.png")
  assert broken["kind"] == "image_broken"
  assert facts["method"]["constants"] == {"grey": 128}
  assert facts["model"]["step"] == 3
  assert len(facts["model"]["digest"]) == 32
  page = (out / "report.html").read_text()
  assert "猫" in page
  assert "broken.png" in page
  assert page.count("data:image/png") == 2 * 4
  assert "http" not in page
  printed = capsys.readouterr().out
  assert "Left out, 1 of 3 images" in printed
  # Never over what is there.
  with pytest.raises(ValueError, match="--out="):
    _explain(run, photos, out)


@pytest.mark.slow
def test_occlusion_and_attention(run, photos, tmp_path, capsys):
  images = photos / "c.jpg"
  records = {}
  for method in ("occlusion", "attention"):
    out = tmp_path / method
    code = _explain(run, images, out, method, TEXTS[:2], as_json=True)
    assert code == 0
    records[method] = json.loads(capsys.readouterr().out)
    text = (out / "explain.json").read_text()
    assert json.loads(text) == records[method]
  sims = [
    [one["similarity"] for one in record["images"][0]["maps"]]
    for record in records.values()
  ]
  np.testing.assert_allclose(*sims, atol=2e-6)
  maps = records["attention"]["images"][0]["maps"]
  for one in maps:
    raw = np.load(tmp_path / "attention" / one["array"])
    assert raw.shape == (16, 16)
    assert one["drawn"] == [raw.min(), raw.max()]
    assert "similarity_of_crops" not in one
  assert maps[0]["highest"] != maps[1]["highest"]
  assert records["occlusion"]["method"]["constants"]["rounds"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["windows", "attention", "patches"])
def test_naflex(method):
  """An image of its own shape, its maps those of the patches' embedding."""
  tower = {"tower": "naflex", "image_size": 16, "patch_size": 4}
  config = runs.make_config()
  image = dataclasses.asdict(config.model.image)
  names = [
    field.name for field in dataclasses.fields(naflex_tower.NaFlexConfig)
  ]
  fields = {name: image[name] for name in names if name in image}
  fields |= tower | {"max_num_patches": 12, "position_size": 2}
  made = dataclasses.replace(
    config.model, image=naflex_tower.NaFlexConfig(**fields)
  )
  model = model_lib.Model(
    path="x",
    family="run",
    config=made,
    params=mapping.nested(mirror.random_params(made)),
    mesh=model_lib._make_mesh(),
    make_image_protocol=lambda: None,
    make_tokenizer=lambda: None,
    loss="softmax",
  )
  protocol = naflex.Protocol(4, 12, (0.5,) * 3, (0.5,) * 3)
  pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 3), np.uint8)
  ztxt = np.eye(made.embed_dim, dtype=np.float32)[:2]
  got = heat_maps.make_fn(method, model, protocol, 16)(pixels, ztxt)
  assert got.map_TYX.shape == (2, 8, 24)
  assert np.ptp(got.map_TYX[0]) > 0
  patches = naflex.patchify(pixels, 4, 12)[:2]
  rows = naflex_tower.Patches(*(part[None] for part in patches))
  want = model.make_embedder(16).images(model.params, rows) @ ztxt.T
  np.testing.assert_allclose(got.sim_T, want[0], atol=2e-6)


def test_long_images_have_no_bands():
  config = types.SimpleNamespace(make_embedder=lambda batch_size: None)
  fn = heat_maps.make_fn("occlusion", config, None, 8)
  with pytest.raises(
    ValueError, match=r"4096 x 16 has \d+ bands.*at most 2000"
  ):
    fn(np.zeros((16, 4096, 3), np.uint8), np.zeros((1, 4)))


@pytest.mark.parametrize("tower", ["resnet", "efficientnet", "convnext"])
def test_towers_without_attention_are_refused_by_name(tower):
  config = types.SimpleNamespace(image=types.SimpleNamespace(tower=tower))
  with pytest.raises(
    ValueError, match=f"^--method=attention: .* got {tower}: occlusion"
  ):
    heat_maps.check("attention", config)
  heat_maps.check("windows", config)


def test_images_are_patterns_separated_by_commas(photos):
  names = ["a b.png", "broken.png", "c.jpg"]
  paths = [photos / name for name in names]
  assert explain.find_images(str(photos)) == paths
  for value, wanted in (
    (f"{photos}/c.jpg,{photos}/*.png", [paths[2], paths[0], paths[1]]),
    (f"{photos}/{{c,x}}.jpg", [paths[2]]),
    (f"{photos}/c.jpg, {photos}", [paths[2], paths[0], paths[1]]),
  ):
    assert explain.find_images(value) == wanted
  comma = photos / "x,y.gif"
  Image.new("RGB", (4, 4)).save(comma)
  assert explain.find_images(str(comma)) == [comma]
  comma.unlink()
  with pytest.raises(ValueError, match="--images=.*none.png is no image"):
    explain.find_images(f"{photos}/c.jpg,{photos}/none.png")


def test_texts_are_of_a_file_or_as_written(tmp_path):
  assert explain.read_texts("a cat, a dog,a cat") == ["a cat", "a dog"]
  path = tmp_path / "texts.txt"
  path.write_text("a cat, black\na dog\n")
  assert explain.read_texts(str(path)) == ["a cat, black", "a dog"]
  with pytest.raises(ValueError, match=r"--texts=none.txt is no file"):
    explain.read_texts("none.txt")
  with pytest.raises(ValueError, match="--texts must be texts.*got 'a,'"):
    explain.read_texts("a,")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"images": ""}, "--images is missing"),
    ({"texts": ""}, "--texts is missing"),
    ({"out": ""}, "--out is missing"),
    ({"method": "lime"}, "--method must be one of.*got 'lime'"),
    ({"batch_size": 0}, "--batch_size must be at least 1; got 0"),
  ],
)
def test_flags_are_checked_before_a_model_is_read(tmp_path, fields, message):
  given = {
    "images": str(tmp_path),
    "texts": "a",
    "method": "windows",
    "out": str(tmp_path / "out"),
    "batch_size": 8,
  } | fields
  with pytest.raises((ValueError, failures.RunError), match=message):
    explain.run("no/model", **given)


@pytest.mark.slow
def test_no_image_leaves_nothing(run, photos, tmp_path):
  with pytest.raises(
    ValueError, match="none of 1 files is an image; the first"
  ):
    _explain(run, photos / "broken.png", tmp_path / "out")
  assert not [*tmp_path.iterdir()]


def test_the_page_shows_the_first_of_many():
  facts = {
    "model": {
      "path": "<m>",
      "digest": "d",
      "dtype": "float32",
      "image_protocol": {
        "kind": "naflex",
        "patch_size": 4,
        "max_num_patches": 12,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
      },
    },
    "method": {
      "name": "windows",
      "source": "s",
      "unit": "u",
      "none": "no square",
      "constants": {"grey": 128},
    },
    "images": [{}] * 3,
    "left_out": [],
  }
  one = {"text": "<cat>", "similarity": 0.5, "logit": 1.0}
  one |= {"lowest": -1.0, "highest": 0.0, "drawn": [0.0, 0.0]}
  record = {"path": "p", "size": [8, 8], "constants": {}, "maps": [one] * 14}
  shown = explain_page.Shown(
    record,
    np.zeros((8, 8, 3), np.uint8),
    np.zeros((14, 8, 8), np.float32),
    [explain.heat_pictures.Scale(0, 0)] * 14,
  )
  page = explain_page.render("t", facts, [shown])
  assert "&lt;cat&gt;" in page
  assert "<cat>" not in page
  assert "2 more maps are in maps/" in page
  assert "2 more images are in maps/ and explain.json" in page
  assert "values -1 to 0: no square" in page


@pytest.mark.slow
def test_tiles_are_counted(run, tmp_path, capsys):
  rng = np.random.default_rng(0)
  scene = rng.integers(0, 256, (40, 100, 3), np.uint8)
  Image.fromarray(scene).save(tmp_path / "scene.png")
  (tmp_path / "broken.png").write_text("no image")
  assert _explain(run, f"{tmp_path}/*.png", tmp_path / "out", "tiles") == 0
  facts = json.loads((tmp_path / "out" / "explain.json").read_text())
  (image,) = facts["images"]
  assert image["size"] == [40, 100]
  side = model_lib.load(run).make_inputs().image_protocol.size
  assert image["constants"]["tile"] == side
  num = image["constants"]["num_crops"]
  assert num == np.prod([-(-(x - side) // (side // 2)) + 1 for x in (40, 100)])
  (line,) = capsys.readouterr().err.splitlines()[-1:]
  # A file that is no image counts as one.
  assert line.startswith(f"Explaining tiles: {num + 1}/{num + 1}, ")
