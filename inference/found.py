"""What a search finds; read by the table, the JSON and the contact sheet."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Match:
  """A picture that was found."""

  rank: int  # 1 is best
  score: float  # cosine similarity to the query
  name: str
  key: str
  split: str
  image_YXC: np.ndarray  # uint8
