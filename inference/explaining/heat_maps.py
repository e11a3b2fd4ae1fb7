"""Heat maps of an image for texts by a model, in one of several methods.

The methods are those of evaluators/saliency.py, for any model that can be
loaded; here are their constants, sources and units, for the record of a map.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image

from evaluators import saliency, scene_maps
from inference import model as model_lib
from input_pipeline import faults, model_inputs
from input_pipeline.images import naflex
from models import dual_encoder, vit
from models import naflex as naflex_tower

ATTENTION, PATCHES, TILES = "attention", "patches", "tiles"
# Longest side of a map by tiles, in pixels: scenes are reduced to it.
_LONGEST = 2048
# Layers of attention; the default of saliency.attention.
_NUM_LAYERS = 1
# Most crops of an image; a square one has some 200.
_NUM_CROPS = 2000


@dataclasses.dataclass(frozen=True)
class Method:
  """A method of evaluators/saliency.py.

  Attributes:
    source: paper, and the form of it that is followed.
    unit: phrase for a map's values.
    from_zero: whether colours begin at 0; else at the lowest value.
    none: phrase for a map without a value above the first colour.
    constants: those that do not depend on the image.
  """

  source: str
  unit: str
  from_zero: bool
  none: str
  constants: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Maps:
  """Maps of one image.

  Attributes:
    map_TYX: float32 [T, H, W], not scaled; see the method's unit.
    sim_T: cosine similarity of the whole image to each text.
    sim_MT: similarities of the crops; none for attention.
    constants: those that depend on the image.
    image_YXC: uint8 [H, W, 3], the image that the maps are of; None for the
      image as it was given.
  """

  map_TYX: np.ndarray
  sim_T: np.ndarray
  sim_MT: np.ndarray
  constants: Mapping[str, Any]
  image_YXC: np.ndarray | None = None


_GREY = {"grey": saliency.GREY}
METHODS: Mapping[str, Method] = types.MappingProxyType(
  {
    "windows": Method(
      "Zeiler and Fergus (arXiv 1311.2901), section 4.2; grey and stride of"
      " FashionCLIP (15 pixels of 224), the window is two strides",
      "drop of cosine similarity without a square, mean over squares",
      True,
      "no square lowers the similarity",
      _GREY,
    ),
    "occlusion": Method(
      "FashionCLIP (arXiv 2204.03972), attention_map.py of its code; cell is 15"
      " pixels of 224, in proportion to the image",
      "cosine similarity above the whole image's, mean over bands, less its"
      f" mean {saliency.ROUNDS} times",
      True,
      "no band is more like the text than the whole image",
      _GREY | {"rounds": saliency.ROUNDS},
    ),
    ATTENTION: Method(
      "Chefer et al. (arXiv 2103.15679), section 3.2, as their notebook for"
      " CLIP has it: the last layer, and the attention pool where there is one",
      "relevance: attention times the gradient of the logit",
      False,
      "all places are alike",
      {"num_layers": _NUM_LAYERS},
    ),
    PATCHES: Method(
      "the image tower's own head, applied to the last layer's token of each"
      " patch alone",
      "cosine similarity of a patch's embedding, bilinear between patches",
      False,
      "all places are alike",
      {},
    ),
    TILES: Method(
      "CLIP-RSICD's demo (github.com/arampacha/CLIP-rsicd): tiles of the whole"
      " picture, each embedded alone; here they overlap by half",
      "cosine similarity of tiles, mean over those that cover a place",
      False,
      "all tiles are alike",
      {},
    ),
  }
)


def check(method: str, config: dual_encoder.ModelConfig) -> None:
  """Raise ValueError where a model has no maps of a method."""
  checks_of = {
    ATTENTION: saliency.check_attention,
    PATCHES: saliency.check_patches,
  }
  if method in checks_of:
    try:
      checks_of[method](config)
    except ValueError as error:
      raise ValueError(f"--method={method}: {error}") from error


def make_fn(
  method: str,
  model: model_lib.Model,
  protocol: model_inputs.Protocol,
  batch_size: int,
  advance: Callable[[int], None] = lambda number: None,
) -> Callable[[np.ndarray, np.ndarray], Maps]:
  """Return the function of an image uint8 [H, W, 3] and texts' embeddings.

  It raises faults.ExampleError for an image that is too long for the method.

  Args:
    method: key of METHODS that passed `check`.
    model: model with both towers.
    protocol: image protocol of the model.
    batch_size: most images that are embedded at once.
    advance: called with the number of tiles that were embedded; the other
      methods do not call it.
  """
  embedder = model.make_embedder(batch_size)

  def embed_fn(images_MYXC: np.ndarray) -> np.ndarray:
    if not isinstance(protocol, naflex.Protocol):
      return embedder.images(model.params, images_MYXC)
    sizes = protocol.patch_size, protocol.max_num_patches
    cut = [naflex.patchify(image, *sizes)[:2] for image in images_MYXC]
    # The tower takes NumPy's arrays as well as JAX's, which its types name.
    rows: Any = tuple(map(np.stack, zip(*cut, strict=True)))
    return embedder.images(model.params, naflex_tower.Patches(*rows))

  def occluded(image_YXC: np.ndarray, ztxt_TE: np.ndarray) -> Maps:
    height, width = image_YXC.shape[:2]
    cell = saliency.cell_of(height, width)
    if method == "occlusion":
      cell = min(cell, max(1, (min(height, width) - 1) // 2))
      if (num := saliency.num_bands(height, width, cell)) > _NUM_CROPS:
        raise faults.ExampleError(
          "image_too_large",
          f"an image of {width} x {height} has {num} bands for"
          f" --method=occlusion, which takes at most {_NUM_CROPS}",
        )
      heat = saliency.bands(embed_fn, image_YXC, ztxt_TE, cell=cell)
      constants = {"cell": cell}
    else:
      window = min(2 * cell, height, width)
      stride = min(cell, window)
      heat = saliency.windows(
        embed_fn, image_YXC, ztxt_TE, window=window, stride=stride
      )
      constants = {"window": window, "stride": stride}
    constants["num_crops"] = len(heat.sim_MT)
    return Maps(heat.map_TYX, heat.sim_T, heat.sim_MT, constants)

  def tiled(scene_YXC: np.ndarray, ztxt_TE: np.ndarray) -> Maps:
    height, width = scene_YXC.shape[:2]
    cut = _tiling(protocol, height, width)
    factor = min(1.0, _LONGEST / max(height, width))
    shape = max(round(height * factor), 1), max(round(width * factor), 1)

    def embed_tiles(tiles_MYXC: np.ndarray) -> np.ndarray:
      seen = [model_inputs.as_seen(protocol, one) for one in tiles_MYXC]
      return embed_fn(np.stack(seen))

    map_TYX, sim_MT = scene_maps.tiles(
      embed_tiles,
      *(scene_YXC, ztxt_TE),
      **cut,
      num_at_once=batch_size,
      shape=shape,
      advance=advance,
    )
    whole = model_inputs.as_seen(protocol, scene_YXC)
    sim_T = (embed_fn(whole[None]) @ ztxt_TE.T)[0]
    shown = scene_YXC
    if factor < 1:
      size = shape[1], shape[0]
      reduced = Image.fromarray(scene_YXC).resize(size, Image.Resampling.BOX)
      shown = np.asarray(reduced)
    constants = {
      **cut,
      "num_crops": len(sim_MT),
      "pixels_of_the_picture": [height, width],
    }
    return Maps(map_TYX, sim_T, sim_MT, constants, shown)

  if method == TILES:
    return tiled
  if method not in (ATTENTION, PATCHES):
    return occluded
  merged = dual_encoder.merge(
    dual_encoder.make_graph(model.config), model.params
  )
  tower = model.config.image
  assert isinstance(tower, vit.ViTConfig | naflex_tower.NaFlexConfig)
  patch_size = tower.patch_size

  def relevances(image_YXC: np.ndarray, ztxt_TE: np.ndarray) -> np.ndarray:
    """Return each patch's heat: float32 [T, R, G]."""
    with jax.set_mesh(model.mesh):
      if method == PATCHES:
        return np.asarray(saliency.patches(merged, image_YXC[None], ztxt_TE)[0])
      parts = [
        ztxt_TE[start : start + batch_size]
        for start in range(0, len(ztxt_TE), batch_size)
      ]
      return np.concatenate(
        [
          saliency.attention(
            merged,
            np.repeat(image_YXC[None], len(part_TE), axis=0),
            part_TE,
            num_layers=_NUM_LAYERS,
          )
          for part_TE in parts
        ]
      )

  def attended(image_YXC: np.ndarray, ztxt_TE: np.ndarray) -> Maps:
    height, width = image_YXC.shape[:2]
    maps = [
      saliency.heat_map(relevance_RG, height, width, patch_size)
      for relevance_RG in relevances(image_YXC, ztxt_TE)
    ]
    sim_T = (embed_fn(image_YXC[None]) @ ztxt_TE.T)[0]
    none_MT = np.zeros((0, len(sim_T)))
    return Maps(np.stack(maps), sim_T, none_MT, {"patch_size": patch_size})

  return attended


def num_tiles(protocol: model_inputs.Protocol, height: int, width: int) -> int:
  """Return the number of tiles of a picture of `height` x `width` pixels."""
  cut = _tiling(protocol, height, width)
  return scene_maps.num_tiles(height, width, **cut)


def _tiling(
  protocol: model_inputs.Protocol, height: int, width: int
) -> dict[str, int]:
  """Return "tile" and "stride" of a picture, in its pixels."""
  tile = min(_side(protocol), height, width)
  return {"tile": tile, "stride": max(tile // 2, 1)}


def _side(protocol: model_inputs.Protocol) -> int:
  """Return the side of the squares that a model sees, in pixels."""
  if isinstance(protocol, naflex.Protocol):
    return math.isqrt(protocol.max_num_patches) * protocol.patch_size
  return protocol.size
