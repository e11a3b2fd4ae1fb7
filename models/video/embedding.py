"""Embedding of videos by a dual encoder: the mean over frames, or over views.

Two towers embed the views of a video:

- "image": the image tower, frame by frame. The mean over all frames of all
  views is the video's embedding, the baseline without training of CLIP
  (Portillo-Quintero et al., arXiv 2102.12443; "meanP" of CLIP4Clip, arXiv
  2104.08860).
- "inflated": the inflation of a Swin (models/video/video_swin.py), whose
  parameters are the image tower's, copied over time. The mean over views is the
  video's embedding: Florence's zero-shot retrieval (arXiv 2111.11432, table
  9).

Shape letters beside those of models/layers.py: P views of a video, T frames of
a view, S steps of a scan.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import dual_encoder, stack, swin
from models.video import video_swin
from runtime import checks

IMAGE, INFLATED = TOWERS = ("image", "inflated")
# Means that make one embedding of several: of rows of length 1, as CLIP4Clip
# does, or of the tower's outputs.
NORMALISED_MEAN, MEAN = AGGREGATIONS = ("normalised_mean", "mean")


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
  """Choice of a tower of videos.

  Attributes:
    tower: one of TOWERS.
    aggregation: one of AGGREGATIONS; the result has length 1 with either.
    inflation: temporal sizes of the inflated tower.
  """

  tower: str
  aggregation: str
  inflation: video_swin.VideoConfig

  @checks.collected()
  def check(self, config: dual_encoder.ModelConfig, field: str) -> None:
    """Raise ValueError where a model cannot embed videos so.

    Args:
      config: the model.
      field: name of this section in messages.
    """
    kind = None if config.image is None else config.image.tower
    if kind in (None, "naflex"):
      checks.refuse(
        f"{field}.clips must be 0 for a model whose image tower does not read"
        f" square frames; got model.image.tower={kind!r}"
      )
    if self.tower == IMAGE:
      return
    if not isinstance(config.image, swin.SwinConfig):
      checks.refuse(
        f'{field}.tower must be "{IMAGE}" for model.image.tower={kind!r}: only'
        f' a tower "swin" can be inflated; got "{INFLATED}"'
      )
      return
    if config.lora.rank:
      checks.refuse(
        f'{field}.tower must be "{IMAGE}" with model.lora, whose updates are'
        f' not inflated; got "{INFLATED}"'
      )
    self.inflation.check(config.image, f"{field}.inflation")


def embed_fn(
  config: dual_encoder.ModelConfig,
  video: EmbeddingConfig,
  batch_axes: tuple[str, ...] = (),
) -> dual_encoder.EmbedFn:
  """Return embed(params, views_bPTYXC): float32 [b, E] of L2 norm 1.

  It is pure. The views are uint8, and one after the other is embedded, of all
  videos of a batch at once: memory does not grow with their number.

  Args:
    config: the model, which `video.check` accepts.
    video: tower and aggregation.
    batch_axes: as of `dual_encoder.make_graph`.
  """
  tower_fn = TOWER_FNS[video.tower](config, video, batch_axes)
  is_normalised = video.aggregation == NORMALISED_MEAN

  def embed(params: dual_encoder.Params, views_bPTYXC: jax.Array) -> jax.Array:
    one_fn = tower_fn(params)
    b, num_views, num_frames = views_bPTYXC.shape[:3]
    steps_Sb = jnp.moveaxis(views_bPTYXC, 1, 0)
    if video.tower == IMAGE:
      frames = views_bPTYXC.reshape(
        b, num_views * num_frames, *views_bPTYXC.shape[3:]
      )
      steps_Sb = jnp.moveaxis(frames, 1, 0)

    def add(total_bE, rows_b):
      z_bE = one_fn(stack.split_rows(rows_b, batch_axes)).astype(jnp.float32)
      if is_normalised:
        z_bE = dual_encoder.l2_normalise(z_bE)
      return total_bE + z_bE, None

    zeros_bE = jnp.zeros((b, config.embed_dim), jnp.float32)
    total_bE, _ = jax.lax.scan(add, zeros_bE, steps_Sb)
    return dual_encoder.l2_normalise(total_bE / len(steps_Sb))

  return embed


# Function of parameters to a function that embeds one image, or clip, a video.
_TowerFn = Callable[[dual_encoder.Params], Callable[[jax.Array], jax.Array]]


def _image_fn(
  config: dual_encoder.ModelConfig,
  video: EmbeddingConfig,
  batch_axes: tuple[str, ...],
) -> _TowerFn:
  del video
  graph = dual_encoder.make_graph(config, batch_axes)

  def make(params: dual_encoder.Params) -> Callable[[jax.Array], jax.Array]:
    tower = dual_encoder.merge(graph, params).img
    assert tower is not None  # EmbeddingConfig.check
    return tower

  return make


def _inflated_fn(
  config: dual_encoder.ModelConfig,
  video: EmbeddingConfig,
  batch_axes: tuple[str, ...],
) -> _TowerFn:
  image = config.image
  assert isinstance(image, swin.SwinConfig)  # EmbeddingConfig.check
  settings = dual_encoder.settings_of(config, batch_axes)
  made = jax.eval_shape(
    lambda: video_swin.VideoSwin(
      image, video.inflation, settings, rngs=nnx.Rngs(params=0)
    )
  )
  graph = nnx.split(made)[0]

  def make(params: dual_encoder.Params) -> Callable[[jax.Array], jax.Array]:
    inflated = video_swin.inflate(params["img"], image, video.inflation)
    return nnx.merge(graph, inflated)

  return make


TOWER_FNS: Mapping[str, Any] = {IMAGE: _image_fn, INFLATED: _inflated_fn}
