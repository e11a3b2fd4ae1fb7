"""Folders of --task=export, loaded by transformers, give equal embeddings.

Differences are float32 sums in another order.
"""

import json
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from inference import export  # noqa: E402
from inference import model as model_lib  # noqa: E402
from input_pipeline.tokenizers import bpe, hf_files  # noqa: E402
from tests import runs  # noqa: E402
from tests.inference import fresh_run  # noqa: E402
from tests.input_pipeline.tokenizers import texts as nasty  # noqa: E402

TEXTS = ["Woman firefighter", "a", "a caption that is cut at its end", "家"]
_CLIP = {
  "model.image.pool": "cls",
  "model.image.pre_norm": True,
  "model.image.norm_epsilon": 1e-5,
  "model.text.norm_epsilon": 1e-5,
  "model.image.activation": "quick_gelu",
  "model.text.activation": "quick_gelu",
  "model.text.causal": True,
  "model.text.pool": "eot",
  "model.text.mask_padding": False,
  "model.image_mean": (0.48, 0.45, 0.4),
  "model.image_std": (0.26, 0.26, 0.27),
  "loss.name": "softmax",
}
_SIGLIP = {
  "model.image.projection": False,
  "model.text.pool": "last",
  "model.text.mask_padding": False,
  "model.text.projection_bias": True,
}
CASES = {"hf_clip": _CLIP, "hf_siglip": _SIGLIP}


@pytest.mark.parametrize("family", CASES)
def test_transformers_loads_a_run(family, tmp_path):
  config = runs.make_config(CASES[family])
  params = fresh_run.write(tmp_path / "run", config)
  if family == "hf_clip":
    with pytest.raises(ValueError, match="bias"):
      export.run(tmp_path / "run", "hf", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "zero").mkdir()
    params = fresh_run.write(tmp_path / "zero" / "run", config, bias=0.0)
    run = tmp_path / "zero" / "run"
  else:
    run = tmp_path / "run"
  out = tmp_path / "out"
  export.run(run, "hf", str(out))
  facts = json.loads((out / "config.json").read_text())
  assert family == f"hf_{facts['model_type']}"

  model, info = transformers.AutoModel.from_pretrained(
    out, output_loading_info=True
  )
  for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[kind], info
  tokenizer = transformers.AutoTokenizer.from_pretrained(out)
  processor = transformers.AutoImageProcessor.from_pretrained(out)
  ours = model_lib.load(run)
  tokens = ours.make_tokenizer()(TEXTS)
  theirs = tokenizer(
    TEXTS, padding="max_length", truncation=True, return_tensors="pt"
  )
  np.testing.assert_array_equal(theirs["input_ids"].numpy(), tokens)

  # Images of the tower's size: resizing has tests of its own.
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
  pixels = processor([Image.fromarray(x) for x in images], return_tensors="pt")[
    "pixel_values"
  ]
  with torch.no_grad():
    # Without the mask: our tower of this family looks at padding.
    result = model(input_ids=theirs["input_ids"], pixel_values=pixels)
  embedder = ours.make_embedder(4)
  zimg = embedder.images(ours.params, images)
  ztxt = embedder.texts(ours.params, tokens)
  logits = ours.scale * zimg @ ztxt.T + ours.bias
  for name, got, want, scale in (
    ("images", zimg, result.image_embeds, 1),
    ("texts", ztxt, result.text_embeds, 1),
    ("logits", logits, result.logits_per_image, ours.scale),
  ):
    difference = np.abs(got - want.numpy()).max() / scale
    print(family, name, difference)
    assert difference < 2e-5, name
  assert np.asarray(params["log_scale"]) == np.log(ours.scale).astype("f4")


def test_a_published_model_and_back(tmp_path):
  """A folder of transformers, exported again: every tensor to the bit."""
  from safetensors import numpy as safetensors_numpy

  tower = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
  }
  for kind, sizes in (
    ("CLIP", {"projection_dim": 24}),
    ("Siglip", {}),
  ):
    config = getattr(transformers, f"{kind}Config")(
      vision_config=tower | {"image_size": 32, "patch_size": 8},
      text_config=tower | {"vocab_size": 99, "eos_token_id": 98},
      **sizes,
    )
    model = getattr(transformers, f"{kind}Model")(config)
    model.save_pretrained(tmp_path / kind)
    export.run(tmp_path / kind, "hf", str(tmp_path / f"{kind}_out"))
    before, after = (
      safetensors_numpy.load_file(tmp_path / name / "model.safetensors")
      for name in (kind, f"{kind}_out")
    )
    assert before.keys() == after.keys()
    for name, array in before.items():
      assert array.shape == after[name].shape
      assert array.tobytes() == after[name].tobytes(), name
    again = transformers.AutoModel.from_pretrained(tmp_path / f"{kind}_out")
    assert type(again) is type(model)


@pytest.mark.parametrize("num_tokens", [8, 40])
def test_our_tokenizer_is_read(num_tokens, tmp_path):
  made = bpe.make_tokenizer(
    lambda: list(nasty.TEXTS) * 2,
    pathlib.Path(tmp_path / "cache"),
    languages=("en",),
    vocab_size=600,
    num_tokens=num_tokens,
  )
  hf_files.write(made, tmp_path)
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  got = theirs(
    list(nasty.TEXTS),
    padding="max_length",
    truncation=True,
    return_tensors="np",
  )
  np.testing.assert_array_equal(got["input_ids"], made(list(nasty.TEXTS)))
