"""Speed and memory of evaluators, beside other libraries.

  python -m benchmarks.evaluate --parts=retrieval --peer_python=PATH

Each part is a module of benchmarks/evaluation/, which says what is measured,
and how to make the peer's environment. A part prints a row of JSON a line.
"""

import functools
from collections.abc import Sequence

from absl import app, flags, logging

from benchmarks import rounds
from benchmarks.evaluation import (
  classifier,
  memory,
  probe,
  retrieval,
  zero_shot,
)

# Name -> function of the peer's interpreter (or None) and rounds; yields rows.
_PARTS = {
  "probe": lambda peer_python, num_rounds: probe.run(),
  "retrieval": retrieval.run,
  "retrieval_whole": retrieval.run_whole,
  "zero_shot": zero_shot.run,
  "classifier": classifier.run,
  "memory": memory.run,
}

_NAMES = flags.DEFINE_list(
  "parts",
  [name for name in _PARTS if name != "retrieval_whole"],
  "Parts to run, in order; retrieval_whole takes ten minutes.",
)
_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each contestant.", 1)


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  arguments = _PEER_PYTHON.value, _ROUNDS.value
  parts = {
    name: functools.partial(part, *arguments) for name, part in _PARTS.items()
  }
  rounds.print_parts(_NAMES.value, parts)


if __name__ == "__main__":
  app.run(main)
