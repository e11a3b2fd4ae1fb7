"""Settings of generation: greedy, beams, or draws from the nucleus."""

import dataclasses
from typing import Any

from runtime import checks


@dataclasses.dataclass(frozen=True)
class Settings:
  """Rule that chooses the ids of a text.

  Attributes:
    num_beams: beams of a beam search; 1 for the most probable id at each place.
    top_p: mass of the nucleus that ids are drawn from (arXiv 1904.09751); None
      draws nothing.
    seed: seed of the draws; those of a picture depend on its number too, and
      on no other picture.
    max_tokens: most ids of a caption, the end included; None for as many as the
      decoder was taught.
  """

  num_beams: int = 1
  top_p: float | None = None
  seed: int = 0
  max_tokens: int | None = None

  @checks.collected()
  def check(self, most: int | None = None, mark: str = "") -> None:
    """Raise ValueError, naming the argument, for a value that cannot be used.

    Args:
      most: most ids that the decoder was taught; None where it is not read yet.
      mark: text before a name, "--" of flags.
    """
    checks.at_least(f"{mark}num_beams", self.num_beams, 1)
    if self.top_p is not None:
      checks.above(f"{mark}top_p", self.top_p, 0)
      checks.between(f"{mark}top_p", self.top_p, 0, 1)
      if self.num_beams > 1:
        checks.refuse(
          f"{mark}top_p draws ids and {mark}num_beams={self.num_beams} searches"
          " them: give one of both"
        )
    checks.between(f"{mark}seed", self.seed, 0, 2**31 - 1)
    if self.max_tokens is not None:
      checks.at_least(f"{mark}max_tokens", self.max_tokens, 1)
      if most is not None and self.max_tokens > most:
        checks.refuse(
          f"{mark}max_tokens must be at most {most}, which the decoder was"
          f" taught (data.regions.num_tokens); got {self.max_tokens}"
        )

  def facts(self, most: int) -> dict[str, Any]:
    """Return the settings in force as values for JSON.

    Args:
      most: most ids that the decoder was taught.
    """
    method = "greedy"
    if self.num_beams > 1:
      method = "beams"
    if self.top_p is not None:
      method = "nucleus"
    return {
      "method": method,
      "num_beams": self.num_beams,
      "top_p": self.top_p,
      "seed": self.seed if self.top_p is not None else None,
      "max_tokens": self.max_tokens or most,
    }
