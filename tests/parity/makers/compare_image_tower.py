"""Compare a full-size image tower with what open_clip computed.

Example, with a file of tests/parity/makers/golden_open_clip_conv.py:
  python -m tests.parity.makers.compare_image_tower /tmp/rn50.npz
"""

import sys

import jax
import numpy as np

from models import dual_encoder
from models.pretrained import mapping
from models.pretrained.parts import clip_resnet
from tests.models.pretrained import goldens
from tests.models.pretrained.families import image_tower


def main() -> None:
  """Print the largest difference of the embeddings."""
  found, expected = goldens.read(sys.argv[1])
  family = (
    image_tower.RESNET
    if clip_resnet.recognises_image(found.tensors)
    else image_tower.CONVNEXT
  )
  config, params = goldens.load(family, found)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  zimg = jax.jit(lambda m, x: m.embed_images(x))(model, expected["images"])
  print("largest difference", np.abs(zimg - expected["zimg"]).max())
  print("largest value", np.abs(expected["zimg"]).max())
  print("rows' cosine", expected["zimg"][0] @ expected["zimg"][1])


if __name__ == "__main__":
  main()
