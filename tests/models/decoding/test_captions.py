"""CoCa's captioner beside what open_clip's computed and wrote.

The golden file is made by tests/parity/makers/golden_coca.py: a random model,
its logits, and the texts of its greedy and its beam search.
"""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import stack
from models.decoding import captioner as captioner_lib
from models.decoding import captions, generation
from models.pretrained import mapping
from models.pretrained.fused import open_clip_coca
from tests.models import towers
from tests.models.pretrained import goldens

BEGIN, END, PAD, LENGTH = 22, 23, 0, 10
PATH = pathlib.Path(__file__).parent / "golden/coca.npz"


@pytest.fixture(scope="module")
def golden():
  return goldens.read(PATH)


@pytest.fixture(scope="module")
def coca(golden):
  return open_clip_coca.read(golden[0])


@pytest.fixture(scope="module")
def modules(coca):
  return open_clip_coca.make(coca)


@jax.jit
def _whole(modules, images_bYXC, tokens_bL):
  """Return what towers and captioner compute of whole texts."""
  model, captioner = modules
  zimg_bE, image_bND = model.img.embedding_and_queries(images_bYXC)
  ztxt_bE, text_bLD = model.txt.embedding_and_tokens(tokens_bL)
  logits_bLV = captioner.logits(captioner.states(text_bLD, image_bND))
  return logits_bLV, zimg_bE, ztxt_bE, image_bND


@jax.jit
def _towers(modules, images_bYXC, tokens_bL):
  model, _ = modules
  return model.img(images_bYXC), model.txt(tokens_bL)


@jax.jit
def _stepwise(modules, image_bND, tokens_rL):
  """Return the same logits, one token after another."""
  model, captioner = modules
  images = captions.image_keys(captioner, image_bND)
  num_rows, length = tokens_rL.shape

  def step(cache, at):
    logits_rV, cache = captions.step(model.txt, captioner, images, cache, *at)
    return cache, logits_rV

  cache = captions.empty_cache(model.txt, captioner, num_rows, length)
  at = (tokens_rL.T, jnp.arange(length))
  return jax.lax.scan(step, cache, at)[1].swapaxes(0, 1)


@pytest.fixture(scope="module")
def whole(modules, golden):
  tokens = golden[1]["tokens"]
  images = golden[1]["images"][: len(tokens)]
  return jax.device_get(_whole(modules, images, tokens))


def test_logits_equal_open_clip(whole, golden):
  want = golden[1]["logits"]
  # float32 sums in another order; logits of up to about 10.
  np.testing.assert_allclose(whole[0], want, rtol=2e-5, atol=2e-5)
  # Texts and images are told apart, and padding inside a caption is masked.
  assert np.abs(want[0] - want[1]).max() > 1
  assert (golden[1]["tokens"][:, :-1] == PAD).any()


def test_embeddings_are_those_of_the_towers(whole, modules, golden):
  tokens = golden[1]["tokens"]
  images = golden[1]["images"][: len(tokens)]
  _, zimg, ztxt, image = whole
  want = _towers(modules, images, tokens)
  np.testing.assert_allclose(zimg, want[0], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(ztxt, want[1], rtol=1e-5, atol=1e-5)
  assert image.shape == (3, 4, 16)  # all of five queries but the first


@pytest.mark.parametrize("apart", [False, True])
def test_steps_equal_whole_texts(whole, modules, golden, apart):
  """Two texts of each image, the second one's words in reverse order."""
  tokens = golden[1]["tokens"]
  image = whole[3]
  if apart:
    modules = jax.tree.map(_apart, modules, is_leaf=_is_module)
  both = np.stack([tokens, tokens[:, ::-1]], axis=1).reshape(6, -1)
  got = _stepwise(modules, image, both)
  # Products of one token and of ten may be summed in another order.
  np.testing.assert_allclose(got[::2], whole[0], rtol=1e-5, atol=1e-4)
  if not apart:
    images = golden[1]["images"][: len(tokens)]
    want = _whole(modules, images, tokens[:, ::-1])[0]
    np.testing.assert_allclose(got[1::2], want, rtol=1e-5, atol=1e-4)


def _is_module(x):
  return isinstance(x, nnx.Module)


def _apart(module):
  graph, params = nnx.split(module)
  return nnx.merge(graph, stack.layers_apart(nnx.to_pure_dict(params)))


@pytest.mark.parametrize(
  ("name", "num_beams"),
  [("greedy/2", 1), ("beams/5", 2), ("beams_of_one_group/5", 4)],
)
def test_texts_equal_open_clip(modules, golden, name, num_beams):
  """Six beams in three groups are three searches of two beams: 2 here."""
  want = golden[1][name]
  ending = generation.Ending(LENGTH, END, PAD, int(name[-1]))
  write = functools.partial(
    captions.write, ending=ending, begin_id=BEGIN, num_beams=num_beams
  )
  got = jax.jit(write)(*modules, golden[1]["images"])
  np.testing.assert_array_equal(got.tokens_bL, want)
  # Texts differ: equality says something.
  assert len(np.unique(want, axis=0)) > 5


def test_golden_texts_end_early_and_go_on_behind_padding(golden):
  """Padding's id ends a greedy text; in a beam it is a word, "!" in CLIP."""
  greedy, beams = golden[1]["greedy/2"], golden[1]["beams/5"]
  assert (np.argmax(greedy == END, axis=1) < 4).sum() > 4
  assert ((beams[:, 1] == PAD) & (beams[:, 2:4] != PAD).all(axis=1)).sum() > 2
  assert (greedy[greedy[:, 1] == PAD, 1:] == PAD).all()


def test_weights_survive(coca, golden):
  found, _ = golden
  config, tensors = open_clip_coca.write(coca)
  assert set(tensors) == set(found.tensors)
  for name, array in tensors.items():
    np.testing.assert_array_equal(array, found.tensors[name], name)
  config = json.loads(json.dumps(config))
  again = open_clip_coca.read(
    dataclasses.replace(found, config=config, tensors=tensors)
  )
  assert again.captioner == coca.captioner
  assert again.model.text == coca.model.text
  # Without a description, as the tensors have it: heads of 64 are one.
  bare = dataclasses.replace(
    found, config={}, options={"text_heads": "4", "image_heads": "2"}
  )
  assert open_clip_coca.read(bare).captioner == coca.captioner


def test_tensors_are_accounted_for(golden):
  found, _ = golden
  name = "text_decoder.cross_attn.1.ln_1_kv.weight"
  tensors = {key: x for key, x in found.tensors.items() if key != name}
  tensors["text_decoder.more"] = np.zeros(3, np.float32)
  with pytest.raises(mapping.MappingError, match=name) as error:
    open_clip_coca.read(dataclasses.replace(found, tensors=tensors))
  assert "text_decoder.more" in str(error.value)


@pytest.mark.parametrize(
  ("section", "fields", "message"),
  [
    ("multimodal_cfg", {"depth": 3}, "not known here: depth"),
    ("multimodal_cfg", {"ls_init_value": 0.1}, "ls_init_value must be"),
    ("multimodal_cfg", {"width": 32}, "must be the text tower's .* got 32, 16"),
    ("multimodal_cfg", {"heads": 3}, r"multiple of multimodal_cfg\.num_heads"),
    ("vision_cfg", {"attentional_pool": False}, "with attentional_pool"),
    ("text_cfg", {"embed_cls": False}, 'model.text.pool="cls"'),
  ],
)
def test_bad_descriptions_are_refused(golden, section, fields, message):
  found, _ = golden
  model_cfg = dict(found.config["model_cfg"])
  model_cfg[section] = model_cfg[section] | fields
  files = dataclasses.replace(found, config={"model_cfg": model_cfg})
  with pytest.raises(ValueError, match=message):
    open_clip_coca.read(files)


def test_other_models_are_refused(golden, modules):
  found, _ = golden
  towers_only = {
    key: x for key, x in found.tensors.items() if "text_decoder" not in key
  }
  with pytest.raises(ValueError, match=r"begin with text_decoder\."):
    open_clip_coca.read(dataclasses.replace(found, tensors=towers_only))
  model, captioner = modules
  with pytest.raises(ValueError, match="at most num_tokens=10 tokens; got 11"):
    captions.empty_cache(model.txt, captioner, 1, 11)
  with pytest.raises(ValueError, match="at most num_tokens=10 tokens; got 11"):
    captioner.states(np.zeros((1, 11, 16)), np.zeros((1, 4, 16)))
  other = jax.eval_shape(
    lambda: towers.dual_encoder.DualEncoder(
      towers.MODEL, rngs=nnx.Rngs(params=0)
    )
  )
  with pytest.raises(ValueError, match=r'need model\.image\.pool="queries"'):
    other.img.embedding_and_queries(np.zeros((1, 16, 16, 3), np.uint8))
  with pytest.raises(ValueError, match=r"need model\.text\.causal=True"):
    other.txt.embedding_and_tokens(np.zeros((1, 8), np.int32))


def test_published_sizes():
  """The counts of text_decoder in open_clip's coca_ViT-B-32 and L-14."""
  for fields, want in (
    ({}, _count(12, 512)),
    ({"width": 768, "num_heads": 12, "mlp_width": 3072}, _count(12, 768)),
  ):
    config = captioner_lib.CaptionerConfig(**fields)
    config.check("captioner")
    shapes = open_clip_coca.shapes_of(towers.MODEL, config)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == want


def _count(depth: int, width: int) -> int:
  attention = 4 * (width**2 + width)
  mlp = 8 * width**2 + 5 * width
  norms = 2 * (2 + 3) * width
  return depth * (2 * (attention + mlp) + norms) + 2 * width + 49_408 * width


def test_bad_fields_are_named():
  config = captioner_lib.CaptionerConfig(num_heads=3, vocab_size=1, depth=0)
  with pytest.raises(ValueError, match="3 problems") as error:
    config.check("captioner")
  for words in (
    "captioner.depth must be at least 1; got 0",
    "captioner.width must be a multiple of captioner.num_heads; got 512 and 3",
    "captioner.vocab_size must be at least 2; got 1",
  ):
    assert words in str(error.value)
