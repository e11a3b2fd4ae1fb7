"""Checks of a config field's value, with one form of message for all.

Every message is "FIELD must be CONDITION; got VALUE".
"""

from collections.abc import Collection
from typing import Any


def at_least(field: str, value: float, lowest: float) -> None:
  """Raise ValueError, naming `field`, for a value below `lowest` or NaN."""
  if not value >= lowest:
    raise ValueError(f"{field} must be at least {lowest}; got {value}")


def above(field: str, value: float, bound: float) -> None:
  """Raise ValueError, naming `field`, for a value not above `bound`."""
  if not value > bound:
    raise ValueError(f"{field} must be above {bound}; got {value}")


def between(field: str, value: float, low: float, high: float) -> None:
  """Raise ValueError, naming `field`, for a value outside [low, high]."""
  if not low <= value <= high:
    raise ValueError(f"{field} must be between {low} and {high}; got {value}")


def in_range(field: str, value: float, low: float, end: float) -> None:
  """Raise ValueError, naming `field`, for a value outside [low, end)."""
  if not low <= value < end:
    raise ValueError(f"{field} must be in [{low}, {end}); got {value}")


def one_of(field: str, value: Any, choices: Collection[Any]) -> None:
  """Raise ValueError, naming `field`, for a value that is not a choice."""
  if value not in choices:
    names = ", ".join(str(choice) or "''" for choice in choices)
    raise ValueError(f"{field} must be one of {names}; got {value!r}")
