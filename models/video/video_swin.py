"""Video Swin by inflation: a tower of images, applied to clips (Florence).

Convolutions of the tokeniser and of merging get a temporal axis: their kernels
are copied over time and divided by its length, so that equal frames give what
one frame gives the image tower. Windows get a temporal side, and each table of
relative positions is copied along time. An inflated network thus embeds a clip
of equal frames as the image network embeds the frame.

Sources: Florence (arXiv 2111.11432, section 2.7), Video Swin (arXiv
2106.13230). Temporal sizes of kernels and windows are unpublished and ours; the
ends of a clip are repeated where a kernel overlaps them, which keeps all frames
exact, and frames that fill up a window are masked.

Shape letters beside those of models/layers.py: T frames or temporal positions,
W windows, S tokens of a window.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import (
  conv_blocks,
  convolution,
  layers,
  stack,
  swin,
  tower,
  windows,
)
from models.video import clip_windows
from runtime import checks

# CvT's kernels and padding, as in models/swin.py.
_STEM_SIZE, _STEM_PAD, _MERGE_SIZE = 7, 2, 3
_INIT = jax.nn.initializers.truncated_normal(0.02)


@dataclasses.dataclass(frozen=True)
class VideoConfig:
  """Temporal sizes of an inflated Swin.

  Attributes:
    stem_frames: temporal length and stride of the tokeniser's kernel.
    merge_frames: temporal length of the kernels of "conv" merging, odd; their
      stride is 1.
    windows: temporal side of the windows of each stage. Florence has small
      ones early and large ones late; their sizes are unpublished.
  """

  stem_frames: int = 2
  merge_frames: int = 3
  windows: tuple[int, ...] = (2, 2, 4, 8)

  @checks.collected()
  def check(self, image: swin.SwinConfig, field: str = "video") -> None:
    """Raise ValueError where the fields do not fit the image tower.

    Args:
      image: config of the tower.
      field: name of this section in messages.
    """
    checks.at_least(f"{field}.stem_frames", self.stem_frames, 1)
    if self.merge_frames < 1 or self.merge_frames % 2 == 0:
      checks.refuse(
        f"{field}.merge_frames must be odd and at least 1; got"
        f" {self.merge_frames}"
      )
    if len(self.windows) != len(image.depths) or min(self.windows) < 1:
      checks.refuse(
        f"{field}.windows must have a number of at least 1 for each of"
        f" {len(image.depths)} stages; got {self.windows}"
      )


class TimeConv(nnx.Module):
  """Convolution of clips; parameters of an inflated convolution.Conv."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    size: int,
    *,
    frames: int,
    stride: int,
    time_stride: int,
    pad: int,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    shape = (frames, size, size, num_in, num_out)
    self.conv = nnx.Dict(
      {
        "kernel": nnx.Param(_INIT(rngs.params(), shape)),
        "bias": nnx.Param(jnp.zeros((num_out,))),
      }
    )
    self.norm = layers.LayerNorm(num_out, epsilon=norm_epsilon, dtype=dtype)
    self.strides = (time_stride, stride, stride)
    self.pad = pad
    self.dtype = dtype

  def __call__(self, x_bTYXC: jax.Array) -> jax.Array:
    kernel = self.conv["kernel"][...].astype(self.dtype)
    frames, size = kernel.shape[:2]
    x = x_bTYXC.astype(self.dtype)
    # Repeated ends: the first and the last frame count as their neighbours.
    before, after = _time_pads(x.shape[1], frames, self.strides[0])
    x = jnp.pad(x, ((0, 0), (before, after), *((0, 0),) * 3), mode="edge")
    pads = [(self.pad, self.pad)] * 2
    if size == self.strides[1]:  # patches: whole ones
      pads = [(0, windows.padded(n, size) - n) for n in x.shape[2:4]]
    x = jax.lax.conv_general_dilated(
      x,
      kernel,
      self.strides,
      [(0, 0), *pads],
      dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )
    return self.norm(x + self.conv["bias"][...].astype(self.dtype))


class Block(nnx.Module):
  """Attention within windows of a clip, then MLP; as swin.Block."""

  def __init__(
    self,
    image: swin.SwinConfig,
    video: VideoConfig,
    stage: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    width = image.widths[stage]
    norm = functools.partial(
      layers.LayerNorm, width, epsilon=image.norm_epsilon, dtype=dtype
    )
    self.attn_norm = norm()
    self.attn = clip_windows.ClipAttention(
      width,
      image.num_heads[stage],
      video.windows[stage],
      image.windows[stage],
      mask_padding=image.mask_padding,
      dtype=dtype,
      rngs=rngs,
    )
    self.mlp_norm = norm()
    self.mlp = layers.Mlp(
      width,
      int(image.mlp_ratio * width),
      activation=image.activation,
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(
    self,
    x_bTYXC: jax.Array,
    keys_b: jax.Array | None = None,
    rate: jax.Array | float = 0.0,
    *,
    shifted: bool,
  ) -> jax.Array:
    """Return the tokens after this block; arguments as in swin.Block."""

    def drop(y_bTYXC: jax.Array, index: int) -> jax.Array:
      if keys_b is None:
        return y_bTYXC
      rows = y_bTYXC.reshape(len(y_bTYXC), -1, *y_bTYXC.shape[3:])
      keys = layers.fold_in(keys_b, index)
      return convolution.drop_path(rows, keys, rate).reshape(y_bTYXC.shape)

    y_bTYXC = self.attn(self.attn_norm(x_bTYXC), shifted=shifted)
    x_bTYXC = x_bTYXC + drop(y_bTYXC, 0)
    return x_bTYXC + drop(self.mlp(self.mlp_norm(x_bTYXC)), 1)


class Stage(nnx.Module):
  """Equal blocks, stacked, after a merging but for the first stage."""

  def __init__(
    self,
    image: swin.SwinConfig,
    video: VideoConfig,
    stage: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    self.downsample = (
      _make_merging(image, video, stage, dtype=dtype, rngs=rngs)
      if stage
      else None
    )
    self.blocks = stack.make_stack(
      lambda rngs: Block(image, video, stage, dtype=dtype, rngs=rngs),
      image.depths[stage],
      rngs,
    )


def _make_merging(
  image: swin.SwinConfig, video: VideoConfig, stage: int, **fields: Any
) -> swin.PatchMerging | TimeConv:
  fields["norm_epsilon"] = image.norm_epsilon
  num_in, num_out = image.widths[stage - 1 : stage + 1]
  if image.merging == "patch":
    return swin.PatchMerging(num_in, num_out, **fields)
  return TimeConv(
    *(num_in, num_out, _MERGE_SIZE),
    frames=video.merge_frames,
    stride=2,
    time_stride=1,
    pad=_MERGE_SIZE // 2,
    **fields,
  )


class VideoSwin(nnx.Module):
  """Clips to one embedding each; parameters by the paths of swin.Swin."""

  def __init__(
    self,
    image: swin.SwinConfig,
    video: VideoConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    dtype, is_patch = settings.dtype, image.embedding == "patch"
    self.stem = TimeConv(
      *(3, image.widths[0], swin.PATCH_SIZE if is_patch else _STEM_SIZE),
      frames=video.stem_frames,
      stride=swin.PATCH_SIZE,
      time_stride=video.stem_frames,
      pad=0 if is_patch else _STEM_PAD,
      norm_epsilon=image.norm_epsilon,
      dtype=dtype,
      rngs=rngs,
    )
    self.stages = nnx.Dict(
      {
        str(i): Stage(image, video, i, dtype=dtype, rngs=rngs)
        for i in range(len(image.depths))
      }
    )
    self.norm = layers.LayerNorm(
      image.widths[-1], epsilon=image.norm_epsilon, dtype=dtype
    )
    self.projection = tower.make_projection(
      image, image.widths[-1], settings, rngs
    )
    self.config = image
    self.settings = settings

  def __call__(
    self, clips_bTYXC: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Embed clips.

    Args:
      clips_bTYXC: uint8, any number of frames.
      keys_b: one random key a clip, used in training; None draws nothing.

    Returns:
      [b, E], not L2-normalised.
    """
    depth, start = sum(self.config.depths), 0
    drawn = ()  # keys and rate of each block
    if keys_b is not None and self.config.drop_path:
      index = jnp.arange(depth)
      keys = jax.vmap(lambda i: layers.fold_in(keys_b, i))(index)
      drawn = keys, self.config.drop_path * index / max(depth - 1, 1)
    x_bTYXC = self._run(self.stem, self.settings.normalise(clips_bTYXC))
    for i, stage in enumerate(self.stages.values()):
      if stage.downsample is not None:
        x_bTYXC = self._run(_merged, stage.downsample, x_bTYXC)
      rows = [x[start : start + self.config.depths[i]] for x in drawn]
      start += self.config.depths[i]
      x_bTYXC = self._run_blocks((stage.blocks, *rows), x_bTYXC)
    x_bC = jnp.mean(self.norm(x_bTYXC), axis=(1, 2, 3))
    return x_bC if self.projection is None else self.projection(x_bC)

  def _run_blocks(self, stacked: Any, x_bTYXC: jax.Array) -> jax.Array:
    """Scan over pairs of blocks, the second with shifted windows."""
    pairs, rest = divmod(len(jax.tree.leaves(stacked)[0]), 2)

    def body(x_bTYXC, unit):
      for i, shifted in enumerate((False, True)):
        block, *row = jax.tree.map(lambda x, i=i: x[i], unit)
        run = functools.partial(_call, shifted)
        x_bTYXC = self._run(run, block, x_bTYXC, *row)
      return x_bTYXC, None

    units = jax.tree.map(
      lambda x: x[: 2 * pairs].reshape(pairs, 2, *x.shape[1:]), stacked
    )
    x_bTYXC, _ = jax.lax.scan(body, x_bTYXC, units)
    if rest:
      block, *row = jax.tree.map(lambda x: x[-1], stacked)
      run = functools.partial(_call, False)
      x_bTYXC = self._run(run, block, x_bTYXC, *row)
    return x_bTYXC

  def _run(self, fn: Any, *args: Any) -> jax.Array:
    """Return fn(*args), its rows split over devices, checkpointed by config."""

    def in_place(*args):
      return stack.split_rows(fn(*args), self.settings.batch_axes)

    policy = conv_blocks.REMATS[self.settings.remat]
    if policy is None:
      return in_place(*args)
    return jax.checkpoint(in_place, policy=policy)(*args)


def inflate(
  params: dict[str, Any], image: swin.SwinConfig, video: VideoConfig
) -> dict[str, Any]:
  """Return parameters of VideoSwin that embed equal frames as one frame.

  Args:
    params: nested dict of the parameters of swin.Swin.
    image: config of that tower.
    video: temporal sizes.
  """

  def over_time(embedding: dict[str, Any], frames: int) -> dict[str, Any]:
    kernel = jnp.asarray(embedding["conv"]["kernel"])
    copies = jnp.broadcast_to(kernel / frames, (frames, *kernel.shape))
    return embedding | {"conv": embedding["conv"] | {"kernel": copies}}

  stages = {}
  for name, stage in params["stages"].items():
    attn = stage["blocks"]["attn"]
    # [depth, positions, heads]: differences of frames come first.
    copies = (1, 2 * video.windows[int(name)] - 1, 1)
    table = jnp.tile(jnp.asarray(attn["relative_position"]), copies)
    attn = attn | {"relative_position": table}
    stages[name] = stage | {"blocks": stage["blocks"] | {"attn": attn}}
    if "conv" in stage.get("downsample", {}):
      merging = over_time(stage["downsample"], video.merge_frames)
      stages[name]["downsample"] = merging
  return params | {
    "stem": over_time(params["stem"], video.stem_frames),
    "stages": stages,
  }


def _call(shifted: bool, block: Block, x_bTYXC: jax.Array, *row: jax.Array):
  return block(x_bTYXC, *row, shifted=shifted)


def _merged(
  merging: swin.PatchMerging | TimeConv, x_bTYXC: jax.Array
) -> jax.Array:
  if isinstance(merging, TimeConv):
    return merging(x_bTYXC)
  b, num = x_bTYXC.shape[:2]
  x = merging(x_bTYXC.reshape(b * num, *x_bTYXC.shape[2:]))
  return x.reshape(b, num, *x.shape[1:])


def _time_pads(num: int, frames: int, stride: int) -> tuple[int, int]:
  """Return repeated frames before and after, for ceil(num / stride) results."""
  total = max((-(-num // stride) - 1) * stride + frames - num, 0)
  return total // 2, total - total // 2
