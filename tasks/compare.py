"""Compare two models by the results of --task=evaluate on the same sets."""

from absl import app
from absl import flags as absl_flags

from tasks import flags

_RESULTS = absl_flags.DEFINE_list(
  "results",
  [],
  "Two folders that --task=evaluate has written for sets by name, separated by"
  " a comma: the differences are those of the second from the first.",
)
FLAGS = (_RESULTS, flags.OUT, flags.JSON)


def run() -> int:
  """Run --task=compare."""
  if len(_RESULTS.value) != 2:
    raise app.UsageError(
      f"--results must be two folders, as --results=A,B; got {_RESULTS.value}"
    )
  from inference import compare

  return compare.run(*_RESULTS.value, out=flags.out(), as_json=flags.JSON.value)
