"""Writes patches of a picture of the earth in the layout of RSICD.

  npm pack three-globe && tar xzf three-globe-*.tgz && mv package globe
  npm pack world-atlas && tar xzf world-atlas-*.tgz && mv package atlas
  python -m experiments.clip_rsicd.prepare --globe=globe --atlas=atlas \
    --out=cache/rsicd

The picture is NASA's Blue Marble, 4,096 x 2,048 pixels: land as satellites saw
it, sea with colours of its depth. The atlas says where land is. A patch is
5.6 degrees of latitude high, as many kilometres wide, and has 64 x 64 pixels.
The globe is divided into 128 blocks, each of one split; no patch crosses the
edge of its block. Below --out: dataset_rsicd.json and RSICD_images/.

Scenes, in a picture's file name, and the five captions follow from the atlas,
the colours and the latitude, by rules that were written before anything was
trained: no person has looked at the patches. A patch that no rule names is left
out. Captions hold after a flip, as the training flips.
"""

import collections
import dataclasses
import io
import json
import math
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.parts import atlas as atlas_lib
from experiments.parts import program
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_GLOBE = flags.DEFINE_string(
  *("globe", None, "Folder of the unpacked npm package three-globe."),
  flag_values=_FLAGS,
)
_ATLAS = flags.DEFINE_string(
  *("atlas", None, "Folder of the unpacked npm package world-atlas."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

PICTURE = "example/img/earth-blue-marble.jpg"
SIDE = 64
# Parts of the picture's height: a block, a patch, and the step between patches.
BLOCKS, PATCHES, STEPS = 8, 32, 128
# Most patches of a scene, so that oceans are not most of them.
MOST = {"train": 300, "val": 30, "test": 60}

# Kinds of a pixel of land, in the words of captions.
KINDS = ("ice", "sand", "red soil", "forest", "grassland", "dry land")
# Kind that most of the land is of -> the scene of land, and that of a coast.
_SCENES = {
  "ice": ("ice", "icecoast"),
  "sand": ("desert", "desertcoast"),
  "red soil": ("desert", "desertcoast"),
  "forest": ("forest", "greencoast"),
  "grassland": ("grassland", "greencoast"),
  "dry land": ("dryland", "drycoast"),
}
# Words of captions for each scene.
PHRASES = {
  **{"ocean": "the deep ocean", "shallows": "a shallow sea"},
  **{"islands": "islands in the sea", "ice": "land under ice"},
  **{"icecoast": "a coast of ice", "desertcoast": "a coast of desert"},
  **{"greencoast": "a green coast", "drycoast": "a coast of dry land"},
  **{"desert": "a desert", "savanna": "savanna, half green and half dry"},
  **{"forest": "a dark green forest", "grassland": "green grassland"},
  **{"dryland": "brown and dry land", "snowline": "the edge of the snow"},
}
# Shares of a patch: below the first there is no land, above the second no sea.
_NO_LAND, _NO_SEA = 0.01, 0.9
# Shares of land: of water for lakes to be said, of a kind that names the scene,
# and of a kind that is said.
_LAKES, _MOSTLY, _SOME = 0.08, 0.6, 0.15
# Level of blue, the mean of the sea, above which it is shallow.
_SHALLOW = 60
# Latitudes of the tropics and of the polar circles, in degrees.
_TROPIC, _CIRCLE = 23.4, 66.6
# Quarters of a patch that are land; "none" and "all" are for no other shares.
_AMOUNTS = ("hardly any", "a quarter", "half", "three quarters", "nearly all")


@dataclasses.dataclass(frozen=True)
class Facts:
  """Facts of a patch.

  Attributes:
    land: share of it that the atlas calls land.
    is_inside: whether no land lies on its edge.
    water: share of the land whose colour is water's.
    kinds: share of the other land by kind, the largest first.
    blue: mean level of blue of its sea; 0 without sea.
    latitude: latitude of its centre, in degrees.
  """

  land: float
  is_inside: bool
  water: float
  kinds: dict[str, float]
  blue: float
  latitude: float


def main(argv: Sequence[str]) -> None:
  del argv
  if not (_GLOBE.value and _ATLAS.value and _OUT.value):
    raise app.UsageError("--globe=, --atlas= and --out=FOLDER are all needed")
  path = pathlib.Path(_GLOBE.value) / PICTURE
  if not path.is_file():
    raise app.UsageError(
      f"--globe={_GLOBE.value} must be the unpacked npm package three-globe,"
      f" with {PICTURE}: `npm pack three-globe`, then `tar xzf`"
    )
  globe = np.asarray(Image.open(path).convert("RGB"))
  land = atlas_lib.read(pathlib.Path(_ATLAS.value)).land(len(globe))
  print(json.dumps(make(globe, land, pathlib.Path(_OUT.value)), indent=2))


def make(
  globe: np.ndarray, land: np.ndarray, out: pathlib.Path
) -> dict[str, dict[str, int]]:
  """Write all files; return the number of patches by split and scene.

  Args:
    globe: uint8 [H, 2 H, 3], rows of equal latitudes from 90 north.
    land: bool [H, 2 H], where land is.
    out: folder to write.
  """
  found = collections.defaultdict(list)
  for split, box in patches(len(globe)):
    facts = facts_of(globe, land, box)
    if name := scene_of(facts):
      found[split, name].append((box, facts))
  rng, entries, picture = random.Random(0), [], Image.fromarray(globe)
  counts: dict[str, dict[str, int]] = {split: {} for split in MOST}
  (out / "RSICD_images").mkdir(parents=True, exist_ok=True)
  for (split, name), boxes in sorted(found.items()):
    some = rng.sample(boxes, min(len(boxes), MOST[split]))
    counts[split][name] = len(some)
    for box, facts in some:
      number = len(entries) + 1
      file = f"{name}_{number}.jpg"
      buffer = io.BytesIO()
      # Cut first: the filter would read pixels beyond a box.
      patch = picture.crop(box).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
      patch.save(buffer, "JPEG", quality=95)
      whole_files.write(out / "RSICD_images" / file, buffer.getvalue())
      entries.append(_entry(file, split, captions(name, facts)))
  text = json.dumps({"images": entries, "dataset": "rsicd"})
  whole_files.write(out / "dataset_rsicd.json", text.encode())
  return counts


def patches(height: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
  """Yield the split and the box of each patch of a picture of the globe.

  A box is left, top, right, bottom, in pixels. There is none where it would be
  wider than a block, above 75 degrees.
  """
  block, side, step = (height // parts for parts in (BLOCKS, PATCHES, STEPS))
  for row in range(BLOCKS):
    for column in range(2 * BLOCKS):
      split = _split(row, column)
      for top in range(row * block, (row + 1) * block - side + 1, step):
        latitude = 90 - (top + side / 2) * 180 / height
        width = round(side / math.cos(math.radians(latitude)))
        end = (column + 1) * block - width
        for left in range(column * block, end + 1, step):
          yield split, (left, top, left + width, top + side)


def _split(row: int, column: int) -> str:
  """Return the split of a block: 5, 1 and 2 of 8 are train, val and test."""
  return {0: "val", 3: "test", 6: "test"}.get((column + 3 * row) % 8, "train")


def facts_of(
  globe: np.ndarray, land: np.ndarray, box: tuple[int, int, int, int]
) -> Facts:
  """Return the facts of a box of the globe's picture."""
  left, top, right, bottom = box
  pixels_YXC = globe[top:bottom, left:right].astype(int)
  land_YX = land[top:bottom, left:right]
  edge = (land_YX[0], land_YX[-1], land_YX[:, 0], land_YX[:, -1])
  kind_N = kinds_of(pixels_YXC[land_YX])
  dry_N = kind_N[kind_N >= 0]
  counts = np.bincount(dry_N, minlength=len(KINDS)) / max(1, len(dry_N))
  sea_N = pixels_YXC[..., 2][~land_YX]
  return Facts(
    land=float(land_YX.mean()),
    is_inside=not any(side.any() for side in edge),
    water=float((kind_N < 0).mean()) if len(kind_N) else 0.0,
    kinds={KINDS[i]: float(counts[i]) for i in np.argsort(-counts)},
    blue=float(sea_N.mean()) if len(sea_N) else 0.0,
    latitude=90 - (top + bottom) / 2 * 180 / len(globe),
  )


def kinds_of(pixels_NC: np.ndarray) -> np.ndarray:
  """Return the index in KINDS of pixels of land, int [N]; -1 is water."""
  red, green, blue = pixels_NC.T
  brightest = pixels_NC.max(axis=1, initial=0)
  is_water = (blue > green) & (blue > 2 * red) | (brightest < 14)
  darkest = pixels_NC.min(axis=1, initial=255)
  # The first rule that holds; snow between trees is grey.
  rules = {
    "ice": (darkest > 140) | (darkest > 80) & (blue >= 0.95 * red),
    "water": is_water,
    "red soil": green < 0.72 * red,
    "sand": red > 130,
    "forest": (green >= red) & (brightest < 50),
    "grassland": green >= 0.92 * red,
  }
  kinds = [KINDS.index(x) if x in KINDS else -1 for x in rules]
  return np.select([*rules.values()], kinds, KINDS.index("dry land"))


def scene_of(facts: Facts) -> str | None:
  """Return the scene of a patch, a key of PHRASES; None where it is unclear."""
  (first, most), (second, more) = list(facts.kinds.items())[:2]
  if facts.land < _NO_LAND:
    return "shallows" if facts.blue > _SHALLOW else "ocean"
  if facts.is_inside:
    return "islands"
  if facts.land < _NO_SEA:
    return _SCENES[first][1]
  if most > _MOSTLY:
    return _SCENES[first][0]
  arid = facts.kinds["sand"] + facts.kinds["red soil"]
  if arid > _MOSTLY:
    return "desert"
  if arid + facts.kinds["dry land"] > _MOSTLY:
    return "dryland"
  if facts.kinds["ice"] > 2 * _SOME:
    return "snowline"
  if {first, second} == {"grassland", "dry land"} and most + more > _MOSTLY:
    return "savanna"
  return None


def captions(scene: str, facts: Facts) -> list[str]:
  """Return five captions of a patch."""
  phrase, latitude = PHRASES[scene], abs(facts.latitude)
  zone = "between the tropics and a pole"
  if latitude < _TROPIC:
    zone = "in the tropics"
  elif latitude > _CIRCLE:
    zone = "near a pole"
  some = [kind for kind, share in facts.kinds.items() if share > _SOME][:3]
  if some and facts.kinds[some[0]] > _MOSTLY:
    some[0] = f"mostly {some[0]}"
  if facts.land == 1 and facts.water > _LAKES:
    some.append("lakes")
  seen = [" and ".join(some)] if facts.land >= _NO_LAND else []
  if facts.land < _NO_SEA:
    depth = "shallow" if facts.blue > _SHALLOW else "deep"
    seen.append(f"{depth} blue sea")
  amount = _AMOUNTS[round(facts.land * (len(_AMOUNTS) - 1))]
  amount = {0.0: "none", 1.0: "all"}.get(facts.land, amount)
  return [
    f"an aerial photograph of {phrase}",
    f"{phrase} {zone}",
    f"{amount} of the picture is land",
    " beside ".join(seen),
    f"{phrase}: {', '.join(seen)}",
  ]


def _entry(file: str, split: str, texts: Sequence[str]) -> dict[str, Any]:
  sentences = [{"raw": text, "tokens": text.split()} for text in texts]
  return {"filename": file, "split": split, "sentences": sentences}


if __name__ == "__main__":
  program.run(main, _FLAGS)
