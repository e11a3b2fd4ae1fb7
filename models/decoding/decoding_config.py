"""Section `config.decoding`: a decoder that learns beside a dual encoder."""

import dataclasses

from models.decoding import decoder_config
from runtime import checks, marks


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
  """Fields of the section; configs/parts/decoding.py explains them."""

  weight: marks.Training[float] = 0.0
  decoder: decoder_config.DecoderConfig = decoder_config.DecoderConfig()

  @property
  def is_on(self) -> bool:
    """Whether a decoder is trained."""
    return self.weight > 0

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    checks.at_least("decoding.weight", self.weight, 0)
    with checks.collected():
      self.decoder.check("decoding.decoder")
