"""Variants of a config file: `--config=configs/clip.py:vit_b32`."""

import pathlib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def pick(file: str, arg: str, variants: Mapping[str, T]) -> T:
  """Return the variant that the config file's argument names.

  Args:
    file: the config's `__file__`.
    arg: what follows the colon.
    variants: by name, all but "mini", which every file has.

  Raises:
    ValueError: there is none of that name.
  """
  if arg not in variants:
    raise ValueError(
      f"configs/{pathlib.Path(file).name}:VARIANT must be one of"
      f" {', '.join((*variants, 'mini'))}; got {arg!r}"
    )
  return variants[arg]
