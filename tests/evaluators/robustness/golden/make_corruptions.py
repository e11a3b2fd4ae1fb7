"""Write corruptions.npz: pixels of the authors' code with our random numbers.

Each random function of NumPy that their code calls draws from the stream of
evaluators/robustness/corruptions.py instead, so that results can be compared
pixel by pixel. Needs, in an environment of its own: opencv-python-headless,
scikit-image, SciPy, Pillow, Wand, ImageMagick 6, absl-py, and the source of
package imagenet-c 0.0.3 (Apache-2.0, not part of this repository). From the
root of this repository:

  python -m tests.evaluators.robustness.golden.make_corruptions \
    imagenet_c-0.0.3/imagenet_c/corruptions.py
"""

import pathlib
import sys
import types
from unittest import mock

import numpy as np
from PIL import Image

from evaluators.robustness import corruptions, severities
from tests.evaluators.robustness import pictures

SIDE = 224
# Names that the libraries have changed since 2018.
RENAMED = {
  "np.float_": "float",
  "multichannel=True": "channel_axis=-1",
  "scipy.ndimage.interpolation": "scipy.ndimage",
  "np.fromstring": "np.frombuffer",
  "from pkg_resources import resource_filename": (
    "resource_filename = lambda _, name: name"
  ),
  ", mode='L')": ")",
}


class Draws:
  """NumPy's old random functions, drawing from a Generator."""

  def __init__(self, rng: np.random.Generator, glass_size: int):
    self.rng = rng
    self.normal = lambda size, scale, loc=0: rng.normal(loc, scale, size)
    self.poisson = rng.poisson
    self.uniform = rng.uniform
    self.glass_size, self.queue = glass_size, []

  def randint(self, low, high=None, size=None):
    if size is None:
      return self.rng.integers(low, high)
    if not self.queue:  # ours draws a round of glass blur at once
      draws = self.rng.integers(low, high, size=(self.glass_size, 2))
      self.queue = list(draws[::-1])
    return self.queue.pop()


def corrupt(official, image, kind: str, severity: int) -> np.ndarray:
  """Return their result for one image as uint8 [H, W, 3]."""
  rng = corruptions.generator(0, "golden", kind, severity)
  reach = severities.TABLE["glass_blur"][SIDE][severity - 1][1]
  draws = Draws(rng, (SIDE - 2 * reach) ** 2)
  textures = pictures.textures(SIDE)

  def randint(low, high=None, size=None):
    # Theirs draws one of five files; the textures here are fewer.
    return draws.randint(
      len(textures) if (low, high, size) == (5, None, None) else low, high, size
    )

  def imread(name):
    return textures[int(name.removeprefix("frost/frost")[0]) - 1][..., ::-1]

  names = {"normal": draws.normal, "poisson": draws.poisson}
  names |= {"uniform": draws.uniform, "randint": randint}
  names |= {"default_rng": lambda *_: rng}  # scikit-image's salt and pepper
  with (
    mock.patch.multiple(np.random, **names),
    mock.patch.object(official.cv2, "imread", imread),
  ):
    return np.uint8(getattr(official, kind)(Image.fromarray(image), severity))


def main(path: str) -> None:
  source = pathlib.Path(path).read_text(encoding="utf-8")
  for old, new in RENAMED.items():
    source = source.replace(old, new)
  official = types.ModuleType("official")
  exec(compile(source, path, "exec"), official.__dict__)
  image = pictures.picture(SIDE, SIDE)
  pixels = {}
  for kind in corruptions.KINDS:
    results = [corrupt(official, image, kind, s) for s in range(1, 6)]
    for severity, result in enumerate(results, 1):
      ours = corruptions.corrupt(
        image, kind, severity, uid="golden", textures=pictures.textures(SIDE)
      )
      far = np.abs(result.astype(int) - ours)
      psnr = 10 * np.log10(255**2 / max(1e-9, (far**2).mean()))
      print(
        f"{kind:18} {severity}: largest difference {far.max()}, above 1:"
        f" {(far > 1).mean():.5%}, PSNR {min(psnr, 99):.1f} dB"
      )
    # Every 16th pixel, from another one in each kind.
    start = 3 + len(pixels) % 13
    pixels[kind] = np.stack(results)[:, start::16, 15 - start % 8 :: 16]
  folder = pathlib.Path(__file__).parent
  np.savez_compressed(folder / "corruptions.npz", **pixels)


if __name__ == "__main__":
  main(sys.argv[1])
