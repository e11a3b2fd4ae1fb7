"""Folders of --format=hf_code, run by transformers, give equal embeddings.

Differences are float32 sums in another order.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

import inference  # noqa: E402
from configs import quickstart  # noqa: E402
from inference import export  # noqa: E402
from tests import runs  # noqa: E402
from tests.inference import fresh_run  # noqa: E402
from tests.parity import test_export  # noqa: E402
from training import config as config_lib  # noqa: E402


def _quickstart():
  config = quickstart.get_config()
  config.data.tokenizer = "bytes"  # no vocabulary has to be trained
  return config_lib.checked(config.to_dict())


CASES = {
  "quickstart": _quickstart,
  "default": runs.make_config,
  "clip": lambda: runs.make_config(test_export.CASES["hf_clip"]),
  "masked": lambda: runs.make_config(
    {"model.text.causal": True, "model.text.pool": "last"}
  ),
  "argmax": lambda: runs.make_config(
    {"model.text.pool": "argmax", "model.image.activation": "swish"}
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_transformers_runs_the_code(case, tmp_path):
  fresh_run.write(tmp_path / "run", CASES[case]())
  export.run(tmp_path / "run", "hf_code", str(tmp_path / f"{case}_out"))
  out = tmp_path / f"{case}_out"
  model, info = transformers.AutoModel.from_pretrained(
    out, trust_remote_code=True, output_loading_info=True
  )
  for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[kind], info
  model.eval()
  ours = inference.Model.load(tmp_path / "run")
  again = inference.Model.load(out)
  assert again.loaded.family == "hf_code"
  side = ours.loaded.config.image.image_size
  rng = np.random.default_rng(0)
  images = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(3)]
  tokens = transformers.AutoTokenizer.from_pretrained(out)(
    test_export.TEXTS,
    padding="max_length",
    truncation=True,
    return_tensors="pt",
  )
  np.testing.assert_array_equal(
    tokens["input_ids"].numpy(), ours.tokenizer(test_export.TEXTS)
  )
  processor = transformers.AutoImageProcessor.from_pretrained(out)
  pixels = processor([Image.fromarray(x) for x in images], return_tensors="pt")
  with torch.no_grad():
    result = model(**tokens, **pixels)
  zimg = ours.embed_images(images)
  ztxt = ours.embed_texts(test_export.TEXTS)
  logits = ours.scale * zimg @ ztxt.T + ours.bias
  for name, got, want, scale in (
    ("images", zimg, result.image_embeds, 1),
    ("texts", ztxt, result.text_embeds, 1),
    ("logits", logits, result.logits_per_image, ours.scale),
  ):
    difference = np.abs(got - want.numpy()).max() / scale
    print(case, name, difference)
    assert difference < 2e-5, name
  np.testing.assert_array_equal(again.embed_images(images), zimg)
  np.testing.assert_array_equal(again.embed_texts(test_export.TEXTS), ztxt)
  # Inputs are told apart, so that equality says something.
  assert np.abs(zimg[0] - zimg[1]).max() > 1e-2
  assert np.abs(ztxt[0] - ztxt[1]).max() > 1e-2
