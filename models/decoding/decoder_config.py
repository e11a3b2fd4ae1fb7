"""Fields of a decoder.

Sources: SigLIP 2 (arXiv 2502.14786, section 2.2) has a decoder of the text
tower's shape with half of its layers, after LocCa (arXiv 2403.19596). Its code
is not public; other fields are those of CapPa's public code (arXiv 2306.07915,
big_vision).
"""

import dataclasses

from models import layers
from runtime import checks, marks


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
  """Fields of a decoder; the defaults are SigLIP 2's of size B.

  Attributes:
    depth: layers; SigLIP 2 has half of the text tower's.
    width: width of a token; the text tower's.
    num_heads: heads of each attention; the text tower's.
    mlp_width: hidden width of the MLP; the text tower's.
    activation: key of layers.ACTIVATIONS; CapPa's.
    norm_epsilon: epsilon of the norms; CapPa's.
    use_bias: whether the MLPs and norms of layers have biases; CapPa's config
      has none. Attention never has any.
    dropout: rate on the outputs of attention and MLP; CapPa's.
    vocab_size: words that are read and predicted; Gemma's.
    num_tokens: most tokens of a text; SigLIP 2's.
    begin_id: input of the first place; CapPa's.
    tied: whether words are predicted with the vectors that they are read with;
      CapPa's are apart.
    parallel_share: probability of parallel prediction; SigLIP 2's for captions
      (CapPa has 0.75). With 0 the decoder has no mask token.
  """

  depth: marks.Fixed[int] = 6
  width: marks.Fixed[int] = 768
  num_heads: marks.Fixed[int] = 12
  mlp_width: marks.Fixed[int] = 3072
  activation: marks.Fixed[str] = "gelu_tanh"
  norm_epsilon: marks.Fixed[float] = 1e-6
  use_bias: marks.Fixed[bool] = False
  dropout: marks.Training[float] = 0.0
  vocab_size: marks.Fixed[int] = 256_000
  num_tokens: marks.Fixed[int] = 64
  begin_id: marks.Fixed[int] = 0
  tied: marks.Fixed[bool] = False
  parallel_share: marks.Training[float] = 0.5

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.dropout or self.parallel_share)

  @checks.collected()
  def check(self, section: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used.

    Args:
      section: section of the config that has these fields.
    """
    for field in ("depth", "width", "num_heads", "mlp_width", "num_tokens"):
      checks.at_least(f"{section}.{field}", getattr(self, field), 1)
    if self.width % max(self.num_heads, 1):
      checks.refuse(
        f"{section}.width must be a multiple of {section}.num_heads; got"
        f" {self.width} and {self.num_heads}"
      )
    checks.one_of(f"{section}.activation", self.activation, layers.ACTIVATIONS)
    checks.above(f"{section}.norm_epsilon", self.norm_epsilon, 0)
    checks.in_range(f"{section}.dropout", self.dropout, 0, 1)
    checks.at_least(f"{section}.vocab_size", self.vocab_size, 2)
    checks.in_range(f"{section}.begin_id", self.begin_id, 0, self.vocab_size)
    checks.between(f"{section}.parallel_share", self.parallel_share, 0, 1)
