"""Section `config.distillation`: the image tower learns from its own average.

A teacher, the moving average of the image tower and of the heads, sees a global
view (data.views). Weights and rules are SigLIP 2's (arXiv 2502.14786, section
2.3); sizes of the head, temperatures, centering and momentum are ours, after
DINO (arXiv 2104.14294), since SigLIP 2 leaves them out.
"""

import ml_collections

Rules = tuple[tuple[str, tuple[str | None, ...]], ...]
# Factor of both weights by the size of the model (arXiv 2502.14786, 2.3).
FACTORS = {"B": 0.25, "L": 0.5, "So400m": 1.0, "g": 0.5}
# Weights before the factor: of local against global views (SILC), and of
# masked patches (TIPS).
WEIGHTS = (1.0, 0.25)


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no self-distillation."""
  distillation = ml_collections.ConfigDict()
  # Weight of the loss of local views against the global one; needs
  # data.views.num_local. 0: none.
  distillation.consistency_weight = 0.0
  # Weight of the loss of masked patches against the teacher's. 0: none.
  distillation.masked_weight = 0.0
  # Share of a view's patches that are masked.
  distillation.mask_share = 0.5
  # Width of the head's layers, length of its output, and prototypes.
  distillation.hidden_width = 2048
  distillation.bottleneck_width = 256
  distillation.num_prototypes = 65_536
  distillation.student_temperature = 0.1
  distillation.teacher_temperature = 0.04
  # Share of the teacher's centre, and of the teacher, that a step keeps; the
  # latter goes from the first value to the second along half a cosine.
  distillation.center_momentum = 0.9
  distillation.momentum = (0.996, 1.0)
  # Step at which it begins to go: that of the phase in which the teacher does.
  distillation.first_step = 0
  return distillation


def partition_rules() -> Rules:
  """Return rules that split heads and prototypes.

  They stand before those of base.py, in a config with both losses: a rule
  without parameters is an error, so in phases they come with the heads.
  """
  return (
    (r"distilling/.*/(first|second)/kernel", ("fsdp", "tensor")),
    (r"distilling/.*/last/kernel", ("tensor", "fsdp")),
    (r"distilling/[^/]*/kernel", ("tensor", "fsdp")),
  )


def weights(size: str) -> dict[str, float]:
  """Return both weights of a size of SigLIP 2, a key of FACTORS."""
  consistency, masked = (FACTORS[size] * x for x in WEIGHTS)
  return {"consistency_weight": consistency, "masked_weight": masked}
