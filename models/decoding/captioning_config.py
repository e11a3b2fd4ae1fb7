"""Section `config.captioning`: a captioner beside a dual encoder."""

import dataclasses

from models.decoding import captioner as captioner_lib
from runtime import checks, marks


@dataclasses.dataclass(frozen=True)
class CaptioningConfig:
  """Fields of the section; configs/parts/captioning.py explains them."""

  weight: marks.Training[float] = 0.0
  captioner: captioner_lib.CaptionerConfig = captioner_lib.CaptionerConfig()

  @property
  def is_on(self) -> bool:
    """Whether a captioner is trained."""
    return self.weight > 0

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    checks.at_least("captioning.weight", self.weight, 0)
    with checks.collected():
      self.captioner.check("captioning.captioner")
