"""Published sizes of towers: "ViT-B" or "BERT-large" in numbers.

Each table names its sources. Every resulting total is tested against the
parameters of the published model (tests/configs/parts/test_variants.py).
"""

import types
from collections.abc import Mapping

Fields = Mapping[str, int]
Table = Mapping[str, Fields]


def _transformers(**rows: tuple[int, int, int, int]) -> Table:
  names = ("width", "depth", "num_heads", "mlp_width")
  return types.MappingProxyType(
    {
      name.replace("_", "-"): dict(zip(names, row, strict=True))
      for name, row in rows.items()
    }
  )


# S, B, L, H: "An Image is Worth 16x16 Words" (arXiv 2010.11929), table 1, and
# "Scaling Vision Transformers" (arXiv 2106.04560), table 2. M: the scaling-law
# models of LAION (arXiv 2212.07143). g, bigG: vision_cfg of open_clip 3.3.0's
# ViT-g-14 and ViT-bigG-14, whose MLP is 4.3637 and 4.9231 times the width.
# So400m: "Getting ViT in Shape" (arXiv 2305.13035). g-opt: vision_config of
# SigLIP 2's giant (arXiv 2502.14786).
VIT = _transformers(
  S=(384, 12, 6, 1536),
  M=(512, 12, 8, 2048),
  B=(768, 12, 12, 3072),
  L=(1024, 24, 16, 4096),
  H=(1280, 32, 16, 5120),
  g=(1408, 40, 16, 6144),
  bigG=(1664, 48, 16, 8192),
  So400m=(1152, 27, 16, 4304),
  g_opt=(1536, 40, 16, 6144),
)

# "BERT" (arXiv 1810.04805), section 3; mini: "Well-Read Students Learn Better"
# (arXiv 1908.08962), table 1.
BERT = _transformers(
  mini=(256, 4, 4, 1024),
  base=(768, 12, 12, 3072),
  large=(1024, 24, 16, 4096),
)

# Width and depth as multiples of B0's, as in the authors' implementation
# (github.com/tensorflow/tpu, efficientnet_builder.py). They are from memory,
# except B7 (transformers' EfficientNetConfig) and the 1,376 channels of L2
# (ALIGN, arXiv 2102.05918, section 5.1).
EFFICIENTNET = types.MappingProxyType(
  {
    name: {"width_factor": width, "depth_factor": depth}
    for name, width, depth in (
      ("b0", 1.0, 1.0),
      ("b1", 1.0, 1.1),
      ("b2", 1.1, 1.2),
      ("b3", 1.2, 1.4),
      ("b4", 1.4, 1.8),
      ("b5", 1.6, 2.2),
      ("b6", 1.8, 2.6),
      ("b7", 2.0, 3.1),
      ("l2", 4.3, 5.3),
    )
  }
)

# Swin (arXiv 2103.14030), section 3.3; UniCL's T and B are these.
SWIN: Mapping[str, Mapping[str, tuple[int, ...]]] = types.MappingProxyType(
  {
    name: {
      "widths": tuple(width * 2**stage for stage in range(4)),
      "depths": depths,
      "num_heads": tuple(width // 32 * 2**stage for stage in range(4)),
    }
    for name, width, depths in (
      ("T", 96, (2, 2, 6, 2)),
      ("S", 96, (2, 2, 18, 2)),
      ("B", 128, (2, 2, 18, 2)),
      ("L", 192, (2, 2, 18, 2)),
    )
  }
)


def clip_text(width: int, depth: int = 12) -> Fields:
  """Return CLIP's text transformer: heads of 64, an MLP of 4 times the width.

  Source: CLIP (arXiv 2103.00020), section 2.4 and tables 19 and 20.
  """
  return {
    "width": width,
    "depth": depth,
    "num_heads": width // 64,
    "mlp_width": 4 * width,
  }
