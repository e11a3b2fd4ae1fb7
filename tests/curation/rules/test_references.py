"""Reference images: read from files, and embedded once."""

import numpy as np
import pytest

from curation import operators
from curation.on_mesh import scorer
from curation.rules import references
from tests.curation import scored


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(references, "_BATCH_SIZE", 8)
    yield scored.write_model(tmp_path_factory.mktemp("filter"), patch)


@pytest.fixture
def context(tmp_path):
  return operators.StepContext(tmp_path, tmp_path / "cache")


def write_images(folder, numbers):
  folder.mkdir()
  images = scored.columns()["image"]
  for number in numbers:
    (folder / f"{number:02d}.png").write_bytes(images[number].as_py())
  return str(folder)


def test_images_are_embedded_once(model, context, monkeypatch):
  folder = write_images(context.workdir / "images", [0, 1, 2])
  references.check(folder, "steps.near")
  first = references.load(context, model, folder)
  assert (first.shape, first.dtype) == ((3, 16), np.float16)
  np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=2e-3)
  monkeypatch.setattr(scorer.Scorer, "images", None)
  np.testing.assert_array_equal(references.load(context, model, folder), first)
  pattern = f"{folder}/*.png"
  references.check(pattern, "steps.near")
  np.testing.assert_array_equal(references.load(context, model, pattern), first)


def test_a_broken_image_is_named(model, context):
  folder = write_images(context.workdir / "images", [0, scored.BROKEN])
  with pytest.raises(
    ValueError,
    match=r"images/04\.png: cannot decode image of 18 bytes, a GIF image",
  ):
    references.load(context, model, folder)


def test_embeddings_of_files(context):
  folder = context.workdir / "embedded"
  folder.mkdir()
  rows = np.array([[3.0, 4.0], [0.0, 2.0]], np.float32)
  np.save(folder / "images.npy", rows)
  for path in (folder, folder / "images.npy"):
    references.check(str(path), "steps.near")
    found = references.load(context, "columns:b32", str(path))
    # 0.6 and 0.8 as float16.
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 1]], atol=5e-4)
  references.check_width(found, 2, "images.npy")
  with pytest.raises(ValueError, match=r"of 2 numbers, the pairs of 512"):
    references.check_width(found, 512, "images.npy")


def test_files_of_no_use(context):
  path = context.workdir / "flat.npy"
  np.save(path, np.ones(5, np.float32))
  with pytest.raises(ValueError, match=r"flat\.npy must hold float16 or float"):
    references.load(context, "columns:b32", str(path))
  folder = write_images(context.workdir / "images", [0])
  with pytest.raises(ValueError, match="'columns:b32', which embeds no images"):
    references.load(context, "columns:b32", folder)
