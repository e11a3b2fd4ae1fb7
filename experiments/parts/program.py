"""Start of an experiment's own program, with flags of its own."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from runtime import garbage


def run(
  main: Callable[[Sequence[str]], Any], flag_values: flags.FlagValues
) -> None:
  """Run a program that defines its flags in `flag_values`.

  They stand apart from main.py's of the same names, and are parsed after those
  of absl, such as --help and --verbosity.
  """
  garbage.raise_threshold()
  app.run(
    main,
    flags_parser=lambda argv: flag_values(flags.FLAGS(argv, known_only=True)),
  )
