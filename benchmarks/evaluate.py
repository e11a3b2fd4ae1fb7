"""Evaluation beside other libraries: speed, memory and agreement.

python -m benchmarks.evaluate --tables=probe

Each table's module says how it measures.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import app, flags

from benchmarks.evaluation import probe

_TABLES: Mapping[str, Callable[[], Iterator[dict[str, object]]]] = {
  "probe": probe.run,
}
_NAMES = flags.DEFINE_list(
  "tables", list(_TABLES), f"Tables to print: {', '.join(_TABLES)}."
)


def main(argv: Sequence[str]) -> None:
  del argv
  unknown = [name for name in _NAMES.value if name not in _TABLES]
  if unknown:
    raise app.UsageError(
      f"--tables must be among {', '.join(_TABLES)}; got {', '.join(unknown)}"
    )
  for name in _NAMES.value:
    for row in _TABLES[name]():
      print(json.dumps({"table": name} | row), flush=True)


if __name__ == "__main__":
  app.run(main)
