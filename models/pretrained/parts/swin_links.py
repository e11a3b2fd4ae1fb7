"""Links of a Swin in PyTorch, whatever its modules are called."""

from collections.abc import Mapping

from models import swin
from models.pretrained import mapping, positions
from models.pretrained.parts import conv_links, torch_links


def stages(
  image: swin.SwinConfig,
  prefix: str,
  block: Mapping[str, str],
  *,
  table: str,
) -> tuple[mapping.Link, ...]:
  """Return links of all stages and of the merging between them.

  A file has a merging in the stage before it, ours in the stage behind it.

  Args:
    image: config of the tower, with merging="patch".
    prefix: name of the list of stages there, such as "encoder.layers".
    block: as `names` of torch_links.block; may be without attention's maps.
    table: name of a block's table of relative positions there.
  """
  result = []
  for i in range(len(image.depths)):
    ours = f"img/stages/{i}"
    if i:
      merging = f"{prefix}.{i - 1}.downsample"
      result += torch_links.norm(f"{ours}/downsample/norm", f"{merging}.norm")
      result += torch_links.dense(
        f"{ours}/downsample/dense", f"{merging}.reduction", use_bias=False
      )
    theirs = f"{prefix}.{i}.blocks.{mapping.LAYER}"
    result += torch_links.block(f"{ours}/blocks", theirs, block)
    result.append(
      mapping.link(
        f"{ours}/blocks/attn/relative_position",
        f"{theirs}.{table}",
        resize=positions.resize_relative,
      )
    )
  return tuple(result)


def stem(theirs_conv: str, theirs_norm: str) -> tuple[mapping.Link, ...]:
  """Return links of the embedding of patches."""
  return (
    *conv_links.conv("img/stem/conv", theirs_conv, use_bias=True),
    *torch_links.norm("img/stem/norm", theirs_norm),
  )
