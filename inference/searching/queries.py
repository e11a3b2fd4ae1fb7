"""Queries of texts and pictures, mixed with weights into one embedding."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np

from inference.indexing import centring

# Length below which a mixture is taken for 0: its parts cancel.
_LEAST_LENGTH = 1e-3


class Embeds(Protocol):
  """Methods of python_model.Model that a query calls, without its import."""

  @property
  def embed_dim(self) -> int: ...

  def embed_texts(self, texts: str, /) -> np.ndarray: ...

  def embed_images(self, images: str, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Query:
  """Texts and pictures that results are to be like, or unlike.

  Attributes:
    parts: (text or path, whether it is a picture, weight) of each; results are
      unlike those of a negative weight.
  """

  parts: tuple[tuple[str, bool, float], ...]

  @classmethod
  def of_flags(
    cls,
    text: str,
    images: Sequence[str],
    without: Sequence[str],
    weight: float,
  ) -> Self:
    """Return the query of flags.

    Args:
      text: --query; "" for none.
      images: each --query_image, a path, or PATH=WEIGHT.
      without: each --without, a text of weight -1.
      weight: --query_weight, that of the text.

    Raises:
      ValueError: a flag is wrong, or there is nothing to look for.
    """
    if text and not text.strip() or not (text or images):
      raise ValueError(
        '--query is empty: say what to look for, as in --query="woman'
        ' firefighter", or give a picture by --query_image=FILE'
      )
    if not math.isfinite(weight) or weight == 0:
      raise ValueError(
        f"--query_weight must be a finite number other than 0; got {weight}"
      )
    parts = [(text, False, weight)] if text else []
    parts += [(path, True, number) for path, number in map(_weighted, images)]
    for value in without:
      if not value.strip():
        raise ValueError("--without is empty: say what results are not to show")
      parts.append((value, False, -1.0))
    if all(weight < 0 for _, _, weight in parts):
      raise ValueError(
        "the query has negative weights only: say what to look for by --query"
        " or --query_image"
      )
    return cls(tuple(parts))

  def title(self) -> str:
    """Return the query in words."""
    words: list[str] = []
    for value, is_image, weight in self.parts:
      name = f"[{pathlib.Path(value).name}]" if is_image else value
      sign = "without " if weight < 0 else "+ " if words else ""
      times = "" if abs(weight) == 1 else f" × {abs(weight):g}"
      words.append(f"{sign}{name}{times}")
    return " ".join(words)

  def facts(self) -> list[dict[str, Any]]:
    """Return the parts as values for JSON."""
    return [
      {"picture" if is_image else "text": value, "weight": weight}
      for value, is_image, weight in self.parts
    ]

  @property
  def has_texts(self) -> bool:
    """Return whether a part is a text."""
    return not all(is_image for _, is_image, _ in self.parts)

  def vector(
    self,
    model: Embeds,
    image_mean_E: np.ndarray | None = None,
    text_mean_E: np.ndarray | None = None,
  ) -> np.ndarray:
    """Return the sum of the parts' embeddings times weights: float32 [E].

    It is of length 1, so that scores are cosine similarities.

    Args:
      model: model of the embeddings.
      image_mean_E: mean that pictures are centred by (centring.centred); None
        for none.
      text_mean_E: that of texts.

    Raises:
      ValueError: a picture cannot be read, or the parts cancel.
    """
    mixed_E = np.zeros(model.embed_dim)
    for value, is_image, weight in self.parts:
      embed = model.embed_images if is_image else model.embed_texts
      mean_E = image_mean_E if is_image else text_mean_E
      z_1E = embed(value)
      if mean_E is not None:
        z_1E = centring.centred(z_1E, mean_E)
      mixed_E += weight * z_1E[0]
    length = np.linalg.norm(mixed_E)
    total = sum(abs(weight) for _, _, weight in self.parts)
    if length < _LEAST_LENGTH * total:
      raise ValueError(
        "the query's parts cancel: what it adds and what it takes away are the"
        f" same ({self.title()})"
      )
    return (mixed_E / length).astype(np.float32)


def _weighted(value: str) -> tuple[str, float]:
  """Return path and weight of --query_image.

  A path that exists is that path, whatever its name.
  """
  path, sign, number = value.rpartition("=")
  weight = 1.0
  if sign and not pathlib.Path(value).expanduser().is_file():
    try:
      weight = float(number)
    except ValueError:
      weight = 0.0
    if not math.isfinite(weight) or weight == 0:
      raise ValueError(
        "--query_image must be FILE or FILE=WEIGHT, the weight a number other"
        f" than 0; got {value!r}"
      )
    value = path
  if not pathlib.Path(value).expanduser().is_file():
    raise ValueError(f"--query_image={value} is no file")
  return value, weight
