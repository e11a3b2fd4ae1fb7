"""Adapters of peft: read here, and written here for peft, embed equally.

Differences are float32 sums in another order.
"""

import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from inference import export  # noqa: E402
from inference import model as model_lib  # noqa: E402
from models import dual_encoder  # noqa: E402
from tests import runs  # noqa: E402
from tests.inference import test_peft_folder as ours  # noqa: E402

# peft asks transformers for an attribute that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")
_RNG = np.random.default_rng(0)
_IMAGES = _RNG.integers(0, 256, (3, 16, 16, 3), np.uint8)
_TOKENS = _RNG.integers(2, 500, (3, 8)).astype(np.int32)
_TOKENS[[0, 1, 2], [3, 7, 5]] = runs.make_config(ours.CLIP).model.text.eot_id


def _theirs(model: torch.nn.Module) -> np.ndarray:
  """Return images' and texts' embeddings of a model of transformers."""
  pixels = torch.from_numpy(_IMAGES.transpose(0, 3, 1, 2).copy()) / 127.5 - 1
  tokens = torch.from_numpy(_TOKENS).long()
  with torch.no_grad():
    output = model(pixel_values=pixels, input_ids=tokens)
  both = output.image_embeds, output.text_embeds
  return np.concatenate([x.numpy() for x in both])


def _here(path: pathlib.Path | str) -> np.ndarray:
  model = model_lib.load(path)
  images_fn, texts_fn = dual_encoder.embed_fns(model.config)
  return np.concatenate(
    [images_fn(model.params, _IMAGES), texts_fn(model.params, _TOKENS)]
  )


@pytest.mark.parametrize("is_rslora", [False, True])
def test_adapters_of_peft_are_read(tmp_path: pathlib.Path, is_rslora: bool):
  base, _ = ours.make_run(tmp_path)
  model = transformers.CLIPModel.from_pretrained(base)
  before = _theirs(model)
  adapted = peft.get_peft_model(
    model,
    peft.LoraConfig(
      r=3,
      lora_alpha=5,
      target_modules=["q_proj", "fc2", "text_projection"],
      use_rslora=is_rslora,
    ),
  )
  torch.manual_seed(0)
  for name, x in adapted.named_parameters():
    if "lora_B" in name:
      torch.nn.init.normal_(x)
  adapted.save_pretrained(tmp_path / "adapter")
  got = _here(tmp_path / "adapter")
  np.testing.assert_allclose(got, _theirs(adapted), atol=2e-5)
  assert np.abs(got - before).max() > 0.01


def test_peft_reads_the_updates_of_a_run(tmp_path: pathlib.Path):
  base, run = ours.make_run(tmp_path)
  export.run(run, "peft", str(tmp_path / "adapter"))
  model = transformers.CLIPModel.from_pretrained(base)
  before = _theirs(model)
  adapted = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
  got = _theirs(adapted)
  np.testing.assert_allclose(got, _here(run), atol=2e-5)
  assert np.abs(got - before).max() > 0.01
