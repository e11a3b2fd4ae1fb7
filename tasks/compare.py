"""Compare runs by their folders, or two models by their results on sets."""

from absl import app
from absl import flags as absl_flags

from tasks import flags

_RESULTS = absl_flags.DEFINE_list(
  "results",
  [],
  "Two folders that --task=evaluate has written for sets by name, separated by"
  " a comma: the differences are those of the second from the first.",
)
_WORKDIRS = absl_flags.DEFINE_list(
  "workdirs",
  [],
  "Folders of runs or patterns of them, as runs/*, separated by commas: figures"
  " over seeds, curves and the fields that differ.",
)
FLAGS = (_RESULTS, _WORKDIRS, flags.FIGURE, flags.OUT, flags.JSON)


def run() -> int:
  """Run --task=compare."""
  if _WORKDIRS.value:
    if _RESULTS.value:
      raise app.UsageError("give either --workdirs or --results, not both")
    from training.comparison import comparison

    return comparison.run(
      _WORKDIRS.value,
      figure=flags.FIGURE.value,
      out=flags.out(),
      as_json=flags.JSON.value,
    )
  if flags.FIGURE.present:
    raise app.UsageError("--figure needs --workdirs beside it")
  if len(_RESULTS.value) != 2:
    raise app.UsageError(
      "give --workdirs=PATTERN of runs, or two folders of results, as"
      f" --results=A,B; got --results={','.join(_RESULTS.value)}"
    )
  from inference.evaluation import compare

  for path in _RESULTS.value:
    flags.in_bucket("results", path)
  return compare.run(*_RESULTS.value, out=flags.out(), as_json=flags.JSON.value)
