"""OpenAI's state dicts, small: read by their shapes, and computed."""

import dataclasses

from models.pretrained.families import hf_clip, open_clip, openai_clip
from tests.models.pretrained import goldens

_GOLDEN = goldens.FOLDER / "openai_clip.npz"


def test_equals_open_clip_s_reading_of_it():
  goldens.check(openai_clip, _GOLDEN)


def test_shapes_describe_the_model():
  found, _ = goldens.read(_GOLDEN)
  model = openai_clip.read_model(found)
  assert model.embed_dim == 12
  image, text = model.image, model.text
  assert (image.image_size, image.patch_size) == (12, 4)
  assert (image.width, image.depth, image.num_heads) == (64, 1, 1)
  assert (image.mlp_width, image.activation) == (256, "quick_gelu")
  assert (text.vocab_size, text.num_tokens, text.eot_id) == (41, 10, 40)
  assert text.activation == "quick_gelu"


def test_is_told_from_other_formats():
  found, _ = goldens.read(_GOLDEN)
  assert not open_clip.recognises(found)
  assert not hf_clip.recognises(found)
  without = {
    k: v for k, v in found.tensors.items() if k not in openai_clip.IGNORED
  }
  found = dataclasses.replace(found, tensors=without)
  assert open_clip.recognises(found)
  assert not openai_clip.recognises(found)
