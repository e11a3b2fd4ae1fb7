"""Contrastive losses over pairs of L2-normalised embeddings."""

import types
from collections.abc import Mapping
from typing import Any

from losses import sigmoid, softmax

LOSSES: Mapping[str, Any] = types.MappingProxyType(
  {"sigmoid": sigmoid, "softmax": softmax}
)
