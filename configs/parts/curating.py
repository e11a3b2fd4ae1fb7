"""Section `config.curating`: each step draws its rows from a super-batch.

A teacher and the model that learns embed the super-batch, and the step learns
from the rows whose loss the teacher has lowered most (docs/joint.md). It is
ACID (arXiv 2411.18674) as in SigLIP 2 (arXiv 2502.14786, section 2.5).
"""

import ml_collections

from losses import joint_selection


def section() -> ml_collections.ConfigDict:
  """Return the defaults: a step learns from all rows that it reads."""
  curating = ml_collections.ConfigDict()
  # Share of the rows of a super-batch that are left out: batch_size rows are
  # drawn from batch_size / (1 - filter_ratio) that are read. SigLIP 2: 0.5, 32k
  # of 64k, for B/16, and 0.75, 32k of 128k, for B/32. 0: no super-batch.
  curating.filter_ratio = 0.0
  # Model whose loss is compared with that of the model that learns: the folder
  # of a run, or published weights, in the forms of init_from. It was trained by
  # the sigmoid loss, and reads the images and tokens of this run: the same
  # image_size, tokenizer and num_tokens. Its towers may be any others. It does
  # not change, and its parameters are in no checkpoint of this run: they are
  # read at each start, and must be those of the first one.
  curating.teacher = ""
  # Blocks that the rows are drawn in, each with those before it in mind; a
  # divisor of batch_size. JEST (arXiv 2406.17711): 16.
  curating.num_blocks = joint_selection.NUM_BLOCKS
  return curating
