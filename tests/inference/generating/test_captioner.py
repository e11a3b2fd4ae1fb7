"""Captions, boxes and texts of boxes that a run's decoder writes."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import inference
from evaluators.generating import settings
from inference import model as model_lib
from input_pipeline.regions import box_tokens
from models import dual_encoder
from models.decoding import inputs
from runtime import mesh as mesh_lib
from tests import runs
from tests.inference import fresh_run
from tests.inference.generating import decoder_runs
from training.run import workdir

_OFFSET = 2  # ids of "bytes" before those of bytes


def _mesh():
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])


def _pictures(num, height=20, width=30):
  rng = np.random.default_rng(num)
  return [*rng.integers(0, 256, (num, height, width, 3), np.uint8)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """Return a model whose decoder has random parameters."""
  folder = tmp_path_factory.mktemp("random") / "run"
  decoder_runs.write(folder, decoder_runs.make_config())
  return inference.Model.load(folder, batch_size=2, mesh=_mesh())


def _scripted(folder, script, *, is_naflex=False):
  config = decoder_runs.make_config(is_naflex=is_naflex)
  decoder_runs.write(folder, config, script)
  return inference.Model.load(folder, batch_size=2, mesh=_mesh())


def _ids(text):
  return [byte + _OFFSET for byte in text.encode()]


def _written(model, pictures, **options):
  writer = model.captioner
  protocol = writer.image_protocol
  requests = (writer.captioning(protocol.apply(x)) for x in pictures)
  some = writer.stream(requests, settings.Settings(**options))
  return [*itertools.chain.from_iterable(some)]


def _logits(model, image, given):
  """Return the logits of all places at once, without a cache: [L, V]."""
  writer = model.captioner
  loaded = model.loaded
  tower = dual_encoder.merge(
    dual_encoder.make_graph(loaded.config), loaded.params
  ).img
  decoder = nnx.merge(writer.decoder.graph, writer.decoder.params)
  with jax.set_mesh(loaded.mesh):
    _, tokens_bND = tower.embedding_and_tokens(jnp.asarray(image)[None])
    states = decoder.states(inputs.Inputs(jnp.asarray([given])), tokens_bND)
    return np.asarray(decoder.logits(states)[0])


@pytest.mark.slow
def test_greedy_ids_are_the_most_probable_at_each_place(model):
  """Five pictures fill no whole number of batches of two."""
  pictures = _pictures(5)
  task = model.captioner.vocabulary.task_id(box_tokens.CAPTION)
  found = _written(model, pictures)
  assert len(found) == 5
  assert len({x.ids for x in found}) > 1, "pictures do not matter"
  num_tokens = model.captioner.decoder.num_tokens
  for picture, one in zip(pictures[-2:], found[-2:], strict=True):
    image = model.image_protocol.apply(picture)
    chosen = [*one.ids, *([1] if one.is_whole else [])]
    assert one.is_whole or len(chosen) == num_tokens
    logits_LV = _logits(model, image, [task, *chosen[:-1]])
    assert np.argmax(logits_LV, axis=1).tolist() == chosen


def test_a_caption_is_cut_at_max_tokens(model):
  pictures = _pictures(3)
  whole = _written(model, pictures)
  assert min(len(x.ids) for x in whole) > 3
  cut = _written(model, pictures, max_tokens=3)
  assert [x.ids for x in cut] == [x.ids[:3] for x in whole]
  assert not any(x.is_whole for x in cut)


@pytest.mark.slow
def test_draws_are_a_pictures_own(model):
  pictures = _pictures(3)
  drawn = _written(model, pictures, top_p=0.9, seed=3)
  assert _written(model, pictures[:1], top_p=0.9, seed=3) == drawn[:1]
  assert _written(model, pictures, top_p=0.9, seed=4) != drawn
  # A nucleus without mass has the most probable id alone.
  assert _written(model, pictures, top_p=1e-6) == _written(model, pictures)


@pytest.mark.slow
def test_beams_find_a_text_that_is_at_least_as_probable(model):
  """Without an end, all texts have one length, which no penalty changes."""
  (picture,) = _pictures(1)
  task = model.captioner.vocabulary.task_id(box_tokens.CAPTION)
  image = model.image_protocol.apply(picture)

  def score(one):
    assert not one.is_whole
    logits_LV = _logits(model, image, [task, *one.ids[:-1]])
    log_p_LV = np.asarray(jax.nn.log_softmax(logits_LV))
    return sum(log_p_LV[range(len(one.ids)), one.ids])

  (greedy,), (found,) = (
    _written(model, [picture], num_beams=num) for num in (1, 3)
  )
  assert score(found) >= score(greedy) - 1e-3


@pytest.mark.slow
def test_texts_and_boxes_of_a_decoder_with_a_script(tmp_path):
  """The text "owl" has three ids, after which a box follows."""
  vocabulary = decoder_runs.make_config().data.regions.vocabulary(264)
  box_4 = np.array([0.0, 2 / 7, 5 / 7, 1.0])
  # 0 is padding, 1 the end.
  script = [*_ids("xyz"), *vocabulary.box_ids(box_4).tolist(), *_ids("ab")]
  script += [0, 1]
  model = _scripted(tmp_path / "run", script)
  picture, other = _pictures(2)
  # Ids of a box and padding are no text; the end is no part of it.
  assert model.caption([picture, other]) == ["xyzab"] * 2
  assert model.caption(picture, max_tokens=2) == ["xy"]
  (one,) = _written(model, [picture])
  caption = model.captioner.caption_of(one)
  assert (caption.num_dropped, caption.is_whole) == (5, True)
  # 20 x 30: the shorter side is resized to 16, the centre is 20 pixels wide.
  assert model.image_protocol.resize == "shortest"
  left, top, right, bottom = model.image_protocol.part(20, 30)
  assert model.refer(picture, "owl") == pytest.approx(
    (left, 20 * 2 / 7, left + (right - left) * 5 / 7, bottom)
  )
  assert (top, bottom) == (0, 20)
  assert model.refer(picture, "ow") is None  # its first id is that of a byte
  # A box has four ids: what follows is that of places 5 and later.
  found = model.caption_region(picture, (left, 0, right, 20))
  assert found == "ab"
  assert model.caption_region(picture, (-5.0, 0, 30, 20)) == "ab"


def test_an_end_within_a_box_is_no_box(tmp_path):
  vocabulary = decoder_runs.make_config().data.regions.vocabulary(264)
  sides = vocabulary.box_ids(np.array([0.0, 0.0, 1.0, 1.0])).tolist()
  model = _scripted(tmp_path / "run", [2, *sides[:3], 1])
  assert model.refer(_pictures(1)[0], "o") is None


def test_boxes_that_cannot_be_used(model):
  picture = _pictures(1)[0]
  part = model.image_protocol.part(20, 30)
  for box, message in (
    ((3, 4, 3, 9), "left < right"),
    ((0, 0, float("nan"), 3), "left < right"),
    ((1, 2, 3), "left, top, right, bottom"),
    ((30, 0, 40, 9), "within its picture of 30 x 20"),
    ((0, 0, part.left, 20), "outside of what the model sees"),
  ):
    with pytest.raises(ValueError, match=message):
      model.caption_region(picture, box)
  with pytest.raises(ValueError, match="text must be"):
    model.refer(picture, " ")


def test_settings_that_cannot_be_used(model):
  for options, message in (
    ({"num_beams": 0}, "num_beams"),
    ({"top_p": 0.0}, "top_p"),
    ({"top_p": 0.9, "num_beams": 2}, "one of both"),
    ({"seed": -1}, "seed"),
    ({"max_tokens": 17}, "max_tokens must be at most 16"),
  ):
    with pytest.raises(ValueError, match=message):
      model.caption(_pictures(1), **options)


@pytest.mark.slow
def test_naflex_with_padding(tmp_path):
  """Boxes of NaFlex are of the whole picture, whose patches have padding."""
  vocabulary = decoder_runs.make_config().data.regions.vocabulary(264)
  sides = vocabulary.box_ids(np.array([0.0, 0.0, 1.0, 3 / 7])).tolist()
  model = _scripted(tmp_path / "run", [2, *sides], is_naflex=True)
  picture = _pictures(1)[0]
  assert model.refer(picture, "o") == pytest.approx((0, 0, 30, 20 * 3 / 7))


def test_models_without_a_decoder(model, tmp_path):
  fresh_run.write(tmp_path / "pairs", runs.make_config())
  pairs = inference.Model.load(tmp_path / "pairs", mesh=_mesh())
  message = r"no decoder.* config\.decoding\.weight=0; expected"
  with pytest.raises(workdir.WorkdirError, match=message):
    pairs.caption(_pictures(1))
  published = dataclasses.replace(pairs.loaded, family="open_clip")
  with pytest.raises(ValueError, match=r"config\.decoding\.weight, or"):
    inference.Model(published, 2).caption(_pictures(1))
  # A run that went on has another decoder.
  older = dataclasses.replace(model.loaded, step=2)
  with pytest.raises(workdir.WorkdirError, match="has gone on"):
    inference.Model(older, 2).caption(_pictures(1))


def test_the_decoder_is_split_over_devices(model):
  """Pictures over all devices: the same texts."""
  pictures = _pictures(3)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 1, 1), jax.devices()[:2])
  folder = model.loaded.folder
  other = inference.Model.load(folder, batch_size=2, mesh=mesh)
  assert other.caption(pictures) == model.caption(pictures)
  _, decoder = model_lib.load_captioner(folder, _mesh())
  assert decoder.num_tokens == 16
