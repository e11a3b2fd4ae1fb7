"""What --task=export writes, loaded by open_clip: the same embeddings.

Differences are float32 sums in another order.
"""

import numpy as np
import open_clip
import torch
from PIL import Image

from inference import export, loaded
from tests import runs
from tests.inference import fresh_run
from tests.parity import test_export


def test_open_clip_loads_a_run(tmp_path):
  config = runs.make_config(test_export.CASES["hf_clip"])
  fresh_run.write(tmp_path / "run", config, bias=0.0)
  out = tmp_path / "out"
  export.run(tmp_path / "run", "open_clip", str(out))
  model, _, transform = open_clip.create_model_and_transforms(
    f"local-dir:{out}"
  )
  model.eval()
  ours = loaded.load(tmp_path / "run")
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
  tokens = ours.make_tokenizer()(test_export.TEXTS)
  with torch.no_grad():
    pixels = torch.stack([transform(Image.fromarray(x)) for x in images])
    zimg, ztxt, scale = model(pixels, torch.from_numpy(tokens).long())[:3]
  embedder = loaded.make_embedder(ours, 4)
  for name, got, want in (
    ("images", embedder.images(ours.params, images), zimg),
    ("texts", embedder.texts(ours.params, tokens), ztxt),
    ("scale", np.float32(1.0), scale / ours.scale),
  ):
    difference = np.abs(got - want.numpy()).max()
    print(name, difference)
    assert difference < 2e-5, name
