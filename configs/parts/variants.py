"""Variants of a config file: `--config=configs/clip.py:vit_b32`."""

import pathlib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
_ROOT = pathlib.Path(__file__).resolve().parents[2]


def pick(
  file: str, arg: str, variants: Mapping[str, T], *, mini: bool = False
) -> T:
  """Return the variant that the config file's argument names.

  Args:
    file: `__file__` of the config.
    arg: text behind the colon.
    variants: variants by name.
    mini: whether the message names a variant "mini" besides.

  Raises:
    ValueError: no variant has that name.
  """
  if arg not in variants:
    name = pathlib.Path(file).resolve().relative_to(_ROOT)
    names = ", ".join((*variants, *(("mini",) if mini else ())))
    raise ValueError(f"{name}:VARIANT must be one of {names}; got {arg!r}")
  return variants[arg]
