"""Captions by a run's captioner, as CoCa trains it."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

import inference
from configs import coca
from evaluators.generating import settings
from models import dual_encoder
from models.decoding import captions, generation
from runtime import mesh as mesh_lib
from tests import steps
from tests.inference.generating import decoder_runs
from training import config as config_lib

_BEGIN, _SIZE = 263, 264
_TINY = {"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32}
_CHANGES = {
  "data.image_size": 16,
  "data.num_tokens": 8,
  "data.tokenizer": "bytes",
  "data.vocab_size": _SIZE,
  "model.embed_dim": 16,
  "model.image.image_size": 16,
  "model.image.num_queries": 3,
  "model.image.pool_heads": 2,
  "model.text.num_tokens": 8,
  "model.text.vocab_size": _SIZE,
  **{f"model.image.{k}": x for k, x in _TINY.items()},
  **{f"model.text.{k}": x for k, x in _TINY.items()},
  **{f"captioning.captioner.{k}": x for k, x in _TINY.items()},
  "captioning.captioner.vocab_size": _SIZE,
  "captioning.captioner.num_tokens": 8,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """Return a run of random parameters."""
  values = coca.get_config("mini")
  values.evaluate.sets = {}
  values.update_from_flattened_dict(_CHANGES | steps.FAST)
  config = config_lib.checked(values.to_dict())
  folder = tmp_path_factory.mktemp("coca") / "run"
  decoder_runs.write(folder, config)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  return inference.Model.load(folder, batch_size=2, mesh=mesh)


def _pictures(num):
  """Return pictures that are as different as can be: black, white, noise."""
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (20, 30, 3), np.uint8)
  return [np.zeros_like(noise), np.full_like(noise, 255), noise][:num]


def test_a_tokenizer_without_a_beginning_is_refused(model):
  assert model.captioner.tasks == ()
  with pytest.raises(ValueError, match="needs a tokenizer with a beginning"):
    model.caption(_pictures(1))
  with pytest.raises(ValueError, match="writes captions alone"):
    model.refer(_pictures(1)[0], "a dog")
  with pytest.raises(ValueError, match="writes captions alone"):
    model.caption_region(_pictures(1)[0], (5, 0, 20, 20))


@pytest.mark.slow
def test_captions_are_those_of_models_decoding(model, monkeypatch):
  """Captions equal those of captions.write, which equal open_clip's."""
  writer = model.captioner
  rule = dataclasses.replace(writer.tokenizer.rule, bos_id=_BEGIN)
  made = dataclasses.replace(writer.tokenizer, rule=rule)
  monkeypatch.setitem(writer.__dict__, "tokenizer", made)
  assert writer.tasks == ("caption",)
  pictures = _pictures(3)
  images = np.stack([model.image_protocol.apply(x) for x in pictures])
  loaded = model.loaded
  graph = dual_encoder.make_graph(loaded.config)
  ending = generation.Ending(max_length=8, end_id=1, pad_id=0)
  with jax.set_mesh(loaded.mesh):
    texts = captions.write(
      dual_encoder.merge(graph, loaded.params),
      nnx.merge(writer.decoder.graph, writer.decoder.params),
      images,
      ending,
      begin_id=_BEGIN,
    )
  requests = (writer.captioning(x) for x in images)
  found = [
    x for some in writer.stream(requests, settings.Settings()) for x in some
  ]
  assert len({x.ids for x in found}) > 1, "pictures do not matter"
  for one, tokens_L, length in zip(
    found, np.asarray(texts.tokens_bL), np.asarray(texts.length_b), strict=True
  ):
    wanted = tokens_L[1:length].tolist()
    if 0 in wanted:  # open_clip's greedy texts end there
      wanted = wanted[: wanted.index(0)]
    # `write` closes a text that is as long as it may be.
    assert [*one.ids][: len(wanted) - 1] == wanted[:-1]
    assert len(wanted) > 2
  assert model.caption(pictures) == [writer.caption_of(x).text for x in found]
  assert len(model.caption(pictures, num_beams=2)) == 3
