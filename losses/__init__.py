"""Contrastive losses over pairs of L2-normalised embeddings."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from losses import sigmoid, softmax

LOSSES: Mapping[str, Any] = types.MappingProxyType(
  {"sigmoid": sigmoid, "softmax": softmax}
)


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Fields of `config.loss`; configs/base.py explains them."""

  name: str
  label_smoothing: float

  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    if self.name not in LOSSES:
      raise ValueError(
        f"loss.name must be one of {', '.join(LOSSES)}; got {self.name!r}"
      )
    LOSSES[self.name].check(self.label_smoothing)
