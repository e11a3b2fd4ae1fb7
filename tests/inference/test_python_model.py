"""Model for use from Python: what goes in, what comes out."""

import itertools
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import inference
from inference import model as model_lib
from runtime import mesh as mesh_lib
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens


def _pixels(seed, height=40, width=50):
  return np.random.default_rng(seed).integers(
    0, 256, (height, width, 3), np.uint8
  )


@pytest.fixture(scope="module", params=["softmax", "sigmoid"])
def model(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param) / "run"
  config = runs.make_config({"loss.name": request.param})
  fresh_run.write(folder, config, bias=-1.5)
  return inference.Model.load(folder, batch_size=8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  folder = tmp_path_factory.mktemp("files")
  for n in range(11):
    Image.fromarray(_pixels(n)).save(folder / f"{n:02d}.png")
  return sorted(folder.iterdir())


def test_an_image_is_the_same_in_every_form(model, files):
  pixels = _pixels(3)
  forms = [
    files[3],
    str(files[3]),
    files[3].read_bytes(),
    pixels,
    Image.fromarray(pixels),
  ]
  together = model.embed_images(forms)
  for form, z_E in zip(forms, together, strict=True):
    np.testing.assert_array_equal(z_E, together[0])
    np.testing.assert_array_equal(model.embed_images(form)[0], z_E)
  np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
  assert together.shape == (5, model.embed_dim)
  assert together.dtype == np.float32
  grey = model.embed_images(pixels[..., 0])
  np.testing.assert_array_equal(
    grey, model.embed_images(np.repeat(pixels[..., :1], 3, axis=-1))
  )
  np.testing.assert_array_equal(
    model.embed_images(np.stack([pixels, pixels])), together[:2]
  )


def test_images_without_end(model, files):
  taken = []

  def endless():
    for file in itertools.cycle(files):
      taken.append(file)
      yield file

  first, second = itertools.islice(model.stream_images(endless()), 2)
  assert len(first) == len(second) == 8
  assert len(taken) <= 8 * 6, "more than a few batches were fetched"
  whole = model.embed_images([*files, *files[:5]])
  np.testing.assert_array_equal(np.concatenate([first, second]), whole)
  assert model.embed_images([]).shape == (0, model.embed_dim)


def test_probabilities_are_of_the_loss_of_the_model(model, files):
  labels = ["cat", "dog", "woman firefighter"]
  templates = ["a photo of a {}.", "a drawing of a {}."]
  found = model.classify(files, labels, templates)
  logit_NA = model.scale * found.similarity_NA.astype(float) + model.bias
  if model.loss == "sigmoid":
    expected_NA = 1 / (1 + np.exp(-logit_NA))
  else:
    expected_NA = np.exp(logit_NA)
    expected_NA /= expected_NA.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found.probability_NA, expected_NA, rtol=1e-5)
  # By hand: the mean of a label's prompts.
  prompts = [template.format(labels[1]) for template in templates]
  mean_E = model.embed_texts(prompts).mean(axis=0)
  np.testing.assert_allclose(
    found.similarity_NA[:, 1],
    model.embed_images(files) @ (mean_E / np.linalg.norm(mean_E)),
    atol=1e-6,
  )
  best = found.similarity_NA.argmax(axis=1)
  assert [one[0][0] for one in found.top()] == [labels[a] for a in best]
  assert [len(one) for one in found.top(9)] == [3] * len(files)
  plain = model.classify(files, labels)
  np.testing.assert_allclose(
    plain.similarity_NA, model.similarity(files, labels), atol=1e-6
  )


def test_a_sigmoid_far_from_zero(model):
  sim_NA = np.array([[1.0, -1.0]], np.float32)
  with np.errstate(all="raise", under="ignore"):
    probability_NA = model.probabilities(1000 * sim_NA)
  np.testing.assert_array_equal(probability_NA, [[1, 0]])


def test_an_explanation(model, files):
  made = model.explain(files[0], "a cat")
  assert made.map_YX.shape == made.image_YXC.shape[:2]
  sim = model.similarity(files[0], "a cat")[0, 0]
  assert made.similarity == pytest.approx(sim, abs=1e-5)
  assert made.picture().size == made.map_YX.shape[::-1]


def test_fewer_devices_and_another_dtype(model):
  path = model.loaded.path
  one = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  alone = inference.Model.load(path, mesh=one, batch_size=3)
  images = [_pixels(n) for n in range(4)]
  z_NE = model.embed_images(images)
  np.testing.assert_allclose(alone.embed_images(images), z_NE, atol=1e-5)
  assert alone.digest == model.digest
  half = inference.Model.load(path, dtype="bfloat16")
  cosine_N = (half.embed_images(images) * z_NE).sum(axis=1)
  assert (cosine_N > 0.98).all()
  assert half.digest != model.digest
  with pytest.raises(ValueError, match=r"model\.dtype.*'float16'"):
    inference.Model.load(path, dtype="float16")


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda m, f: m.embed_images([f, "no.png"]), r"no\.png is no image"),
    (lambda m, f: m.embed_images([f, b"GIF"]), "image 1 is no image"),
    (
      lambda m, f: m.embed_images([np.zeros((4, 4, 3))]),
      r"image 0 must be uint8 \[H, W, 3\]; got float64 \[4, 4, 3\]",
    ),
    (lambda m, f: m.embed_texts(["a", " "]), "text 1 must be a str"),
    (lambda m, f: m.embed_texts([3]), "text 0 must be a str.*got 3"),
    (lambda m, f: m.classify(f, []), "labels must be a list of at least one"),
    (lambda m, f: m.classify(f, "cat"), "labels must be a list.*'cat'"),
    (lambda m, f: m.classify(f, ["a", "a"]), "labels must differ.*'a' twice"),
    (lambda m, f: m.classify(f, ["a"], ["{} {}"]), "one {}; got '{} {}'"),
    (lambda m, f: m.classify(f, ["a"], "{}"), "templates must be a list"),
    (lambda m, f: m.explain(f, "a", "gradients"), "method must be one of"),
  ],
)
def test_bad_input_is_named(model, files, call, message):
  with pytest.raises(ValueError, match=message):
    call(model, files[0])


@pytest.mark.parametrize(
  ("golden", "loss"), [("hf_siglip", "sigmoid"), ("hf_clip", "softmax")]
)
def test_published_weights(golden, loss, tmp_path):
  path, _ = goldens.write_published(golden, tmp_path)
  model = inference.Model.load(pathlib.Path(path))
  assert model.loss == model_lib.load(path).loss == loss
  z_NE = model.embed_images([_pixels(0)])
  assert z_NE.shape == (1, model.embed_dim)


def test_the_package_has_nothing_else():
  with pytest.raises(AttributeError, match="no attribute 'Modell'"):
    _ = inference.Modell
