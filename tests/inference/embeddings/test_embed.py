"""--task=embed: rows in input order, whole files, and one-line messages."""

import json

import numpy as np
import pytest
from PIL import Image

from inference import image_files
from inference import model as model_lib
from inference.embeddings import embed, part_files
from input_pipeline.images import image_ops, naflex
from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import hf_files
from models import naflex as naflex_tower
from models.pretrained import families
from models.pretrained.families import hf_siglip2
from runtime import failures
from tests import runs
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror

TEXTS = ("a cat", "Ein Hund.", "猫", "a cat")


def _embed(path, as_json=False, **fields):
  return embed.run(path, embed.Wanted(**fields), as_json=as_json)


@pytest.fixture(autouse=True)
def _only_mirror(monkeypatch):
  monkeypatch.setattr(families, "FAMILIES", (mirror,))
  monkeypatch.setattr(families, "IMAGE_PROTOCOLS", {"mirror": "siglip"})


@pytest.fixture(scope="module")
def model():
  """Return a tiny model's config and parameters."""
  config = runs.make_config({"data.num_tokens": 12}).model
  return config, mirror.random_params(config)


@pytest.fixture
def folder(model, tmp_path):
  """Return the model's folder with a vocabulary."""
  made = bytes_lib.make_tokenizer(
    list, tmp_path, languages=("en",), vocab_size=512, num_tokens=12
  )
  place = mirror.write(tmp_path / "model", *model)
  hf_files.write(made, place)
  return place


@pytest.fixture
def photos(tmp_path):
  """Return a folder of five images of unequal sizes."""
  place = tmp_path / "photos"
  place.mkdir()
  rng = np.random.default_rng(0)
  for name in ("b.png", "a.jpg", "c10.PNG", "c9.webp", "d.gif"):
    size = rng.integers(10, 40, 2)
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(place / name)
  (place / "notes.txt").write_text("no image")
  return place


@pytest.mark.slow
def test_images_and_texts(model, folder, photos, tmp_path, capsys):
  texts = tmp_path / "texts.txt"
  texts.write_text("\ufeff" + "\n".join(TEXTS) + "\r\n", encoding="utf-8")
  out = tmp_path / "new" / "out"
  code = _embed(
    str(folder),
    images=str(photos),
    texts=str(texts),
    out=str(out),
    batch_size=2,
  )
  assert code == 0
  assert sorted(p.name for p in out.iterdir()) == [
    "embed.json",
    "images.npy",
    "texts.npy",
  ]
  assert [p.name for p in out.parent.iterdir()] == ["out"]
  config, params = model
  facts = json.loads((out / "embed.json").read_text())
  names = ["a.jpg", "b.png", "c10.PNG", "c9.webp", "d.gif"]
  assert facts["images"] == [str(photos / name) for name in names]
  assert facts["num_texts"] == 4
  assert facts["family"] == "mirror"
  np.testing.assert_allclose(facts["scale"], np.exp(params["log_scale"]))
  np.testing.assert_allclose(facts["bias"], params["bias"])
  printed = capsys.readouterr()
  assert f"scale {facts['scale']:.6g}, bias {facts['bias']:.6g}" in printed.out
  assert "Embedding images: 5/5" in printed.err

  images = [
    image_ops.resize(image_ops.decode((photos / name).read_bytes()), 16)
    for name in names
  ]
  tokenizer = model_lib.load(folder).make_tokenizer()
  zimg, ztxt = mirror.embed(
    config,
    params,
    images_bYXC=np.stack(images),
    tokens_bL=tokenizer(TEXTS),
  )
  for name, expected in (("images", zimg), ("texts", ztxt)):
    got = np.load(out / f"{name}.npy", allow_pickle=False)
    assert got.dtype == np.float32
    # Sums of float32 in another order: 8 devices, batches of 8.
    np.testing.assert_allclose(got, expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, atol=1e-6)


def test_one_tower_and_json(model, photos, tmp_path, capsys):
  config, params = model
  image_only = config.__class__(**(vars(config) | {"text": None}))
  kept = {p: x for p, x in params.items() if not p.startswith("txt/")}
  folder = mirror.write(tmp_path / "model", image_only, kept)
  out = tmp_path / "out"
  out.mkdir()  # empty: taken
  args = {"out": str(out), "as_json": True}
  _embed(str(folder), images=str(photos / "b*"), texts="", **args)
  facts = json.loads(capsys.readouterr().out)
  assert facts == json.loads((out / "embed.json").read_text())
  assert facts["images"] == [str(photos / "b.png")]
  np.testing.assert_allclose(facts["scale"], image_only.scale_init)
  assert not (out / "texts.npy").exists()
  texts = tmp_path / "texts.txt"
  texts.write_text("a")
  args["out"] = str(tmp_path / "other")
  with pytest.raises(ValueError, match="--texts: .* has no tower for texts"):
    _embed(str(folder), images="", texts=str(texts), **args)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"images": "", "texts": ""}, r"give --images=GLOB, --texts=FILE"),
    ({"out": ""}, "--out is missing"),
    ({"out": "photos"}, r"--out=.*photos must be a new or empty fold"),
    ({"out": "photos/a.jpg"}, r"--out=.*jpg must be a folder, not a file"),
    ({"out": "photos/a.jpg/x"}, r"--out=.* cannot be written \(Not a dire"),
    (
      {"images": "none/*.jpg"},
      r"--images=.*none/\*\.jpg is no image; .*quoted",
    ),
    ({"images": "empty"}, r"--images=.*empty is no image; .*\.jpg"),
    ({"images": "photos/*.txt"}, r"--images: none of 1 .*notes\.txt: "),
    ({"texts": "none.txt"}, r"--texts=.*none\.txt is no file"),
    ({"texts": "gap.txt"}, r"--texts=.*gap\.txt: line 2 of 3 is empty"),
    ({"texts": "void.txt"}, r"--texts=.*: line 1 of 1 is empty"),
    ({"texts": "photos/a.jpg"}, r"--texts=.* is not UTF-8"),
    ({"batch_size": 0}, r"--batch_size must be at least 1; got 0"),
    ({"model": "none"}, r"none does not exist; expected a folder with model"),
  ],
)
def test_mistakes(changes, words, folder, photos, tmp_path):
  (tmp_path / "empty").mkdir()
  (tmp_path / "gap.txt").write_text("a\n \nb\n")
  (tmp_path / "void.txt").write_text("")
  (tmp_path / "good.txt").write_text("a\n")
  before = sorted(tmp_path.rglob("*"))
  flags = {"model": "model", "images": "", "texts": "good.txt", "out": "out"}
  if "images" in changes:
    flags["texts"] = ""
  flags |= changes
  for name in ("model", "images", "texts", "out"):
    flags[name] = str(tmp_path / flags[name]) if flags[name] else ""
  errors = ValueError, FileNotFoundError, failures.RunError
  with pytest.raises(errors, match=words) as caught:
    _embed(flags.pop("model"), **flags)
  assert len(str(caught.value).splitlines()) == 1
  assert sorted(tmp_path.rglob("*")) == before


def _broken(photos):
  """Add a page under the name of an image, and half an image."""
  (photos / "b2.png").write_text("<!doctype html><title>404</title>")
  (photos / "c8.png").write_bytes((photos / "b.png").read_bytes()[:60])
  return [photos / "b2.png", photos / "c8.png"]


def test_broken_images_are_named(folder, photos, tmp_path, capsys):
  args = {"texts": "", "batch_size": 2}
  _embed(str(folder), images=str(photos), out=str(tmp_path / "a"), **args)
  broken = _broken(photos)
  (photos / "more").mkdir()
  (photos / "drawing.svg").write_text("<svg>")
  out = tmp_path / "b"
  _embed(str(folder), images=str(photos), out=str(out), **args)
  printed = capsys.readouterr().out
  assert "Left out, 2 of 7 images" in printed
  assert all(f"{path}: image_broken" in printed for path in broken)
  assert "has 1 sub-folders, which are not read; --recursive" in printed
  assert "has 2 files that are no images, which are not read" in printed
  assert "drawing.svg" in printed
  facts, before = (
    json.loads((tmp_path / name / "embed.json").read_text()) for name in "ba"
  )
  assert facts["images"] == before["images"]
  assert facts["num_left_out"] == 2
  lines = (out / "left_out.jsonl").read_text().splitlines()
  assert [json.loads(line)["path"] for line in lines] == list(map(str, broken))
  assert [json.loads(line)["index"] for line in lines] == [2, 4]
  got, want = (np.load(tmp_path / x / "images.npy") for x in "ba")
  np.testing.assert_array_equal(got, want)
  assert not (out / ".unfinished").exists()


def test_killed_and_gone_on_with(folder, photos, tmp_path, monkeypatch):
  for i in range(20):
    Image.new("RGB", (9, 9), (10 * i, 0, 0)).save(photos / f"a{i:02}.png")
  broken = _broken(photos)
  monkeypatch.setattr(part_files, "_SAVE_SECONDS", 0.0)
  # One image is read ahead of the one that is embedded.
  monkeypatch.setattr(embed.row_batches, "BATCH_SIZE", 1)
  args = {"images": str(photos), "texts": "", "batch_size": 1}
  _embed(str(folder), out=str(tmp_path / "whole"), **args)
  read, decode = [], image_ops.decode

  def killed(data):
    read.append(data)
    if data == (photos / "d.gif").read_bytes():
      raise KeyboardInterrupt
    return decode(data)

  out = tmp_path / "out"
  monkeypatch.setattr(image_ops, "decode", killed)
  with pytest.raises(KeyboardInterrupt):
    _embed(str(folder), out=str(out), **args)
  assert [p.name for p in out.iterdir()] == [".unfinished"]
  with pytest.raises(failures.RunError, match="num_images: 27 in the fold"):
    _embed(
      str(folder), out=str(out), **args | {"images": str(photos / "a.jpg")}
    )
  again = []
  monkeypatch.setattr(
    image_ops, "decode", lambda data: again.append(data) or decode(data)
  )
  _embed(str(folder), out=str(out), **args)
  # Batches of 8 on the 8 devices of the tests, one of them under way.
  assert len(again) <= 27 - 8
  for name in ("images.npy", "embed.json"):
    got, want = ((tmp_path / x / name).read_bytes() for x in ("out", "whole"))
    assert got == want
  lines = (out / "left_out.jsonl").read_text().splitlines()
  assert [json.loads(line)["path"] for line in lines] == list(map(str, broken))


def test_nothing_says_how_images_are_made_ready(
  folder, photos, tmp_path, monkeypatch
):
  monkeypatch.setattr(families, "IMAGE_PROTOCOLS", {})
  with pytest.raises(ValueError, match="there is no image processor"):
    _embed(str(folder), images=str(photos), texts="", out=str(tmp_path / "out"))


def test_no_vocabulary(model, photos, tmp_path):
  folder = mirror.write(tmp_path / "model", *model)
  (tmp_path / "t.txt").write_text("a\n")
  args = {"texts": str(tmp_path / "t.txt"), "out": str(tmp_path / "out")}
  with pytest.raises(ValueError, match=r"cannot read texts: .*tokenizer\.json"):
    _embed(str(folder), images=str(photos), **args)
  assert not (tmp_path / "out").exists()


def test_an_embedding_that_is_not_finite(model, folder, photos, tmp_path):
  config, params = model
  broken = dict(params) | {
    # Finite, as weights must be, but not the products with them.
    "img/norm/scale": np.full_like(params["img/norm/scale"], 3e38)
  }
  mirror.write(folder, config, broken)
  with pytest.raises(ValueError, match="5 of 5 image embeddings are not fin"):
    _embed(str(folder), images=str(photos), texts="", out=str(tmp_path / "out"))
  assert not list(tmp_path.glob("*out*"))


def test_images_of_any_shape(photos, tmp_path, monkeypatch):
  """NaFlex: each image at its own height and width."""
  monkeypatch.setattr(families, "FAMILIES", (hf_siglip2,))
  found, _ = goldens.read(goldens.FOLDER / "hf_siglip2.npz")
  folder = tmp_path / "model"
  folder.mkdir()
  mirror.write_source(folder, found)
  out = tmp_path / "out"
  _embed(str(folder), images=str(photos), texts="", out=str(out))
  config, params = goldens.load(hf_siglip2, found)
  sizes = config.image.patch_size, config.image.max_num_patches
  rows = []
  for path in image_files.find(str(photos)):
    image = image_ops.decode(path.read_bytes())
    rows.append(naflex.patchify(naflex.resize(image, *sizes), *sizes)[:2])
  patches, shapes = map(np.stack, zip(*rows, strict=True))
  assert len(set(map(tuple, shapes))) > 1
  zimg, _ = mirror.embed(
    config, params, images_bYXC=naflex_tower.Patches(patches, shapes)
  )
  got = np.load(out / "images.npy")
  np.testing.assert_allclose(got, zimg, atol=2e-6)  # as above
