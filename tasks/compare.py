"""Compare runs by their folders, two models on sets, or studies of claims."""

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
_STUDIES = absl_flags.DEFINE_string(
  "studies",
  "",
  "Folder of studies, as experiments: their claims, results and charts as one"
  " page in --out.",
)
FLAGS = (_RESULTS, _WORKDIRS, _STUDIES, flags.FIGURE, flags.OUT, flags.JSON)


def run() -> int:
  """Run --task=compare."""
  given = [x for x in (_WORKDIRS, _RESULTS, _STUDIES) if x.value]
  if len(given) > 1:
    raise app.UsageError(
      "give one of --workdirs, --results and --studies; got"
      f" {' and '.join(f'--{x.name}' for x in given)}"
    )
  if _STUDIES.value:
    for flag in (flags.FIGURE, flags.JSON):
      if flag.present:
        raise app.UsageError(f"--{flag.name} is not used with --studies")
    from experiments.studies import index_page

    return index_page.run(_STUDIES.value, out=flags.out())
  if _WORKDIRS.value:
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
      "give --workdirs=PATTERN of runs, --studies=FOLDER, or two folders of"
      f" results, as --results=A,B; got --results={','.join(_RESULTS.value)}"
    )
  from inference.evaluation import compare

  for path in _RESULTS.value:
    flags.in_bucket("results", path)
  return compare.run(*_RESULTS.value, out=flags.out(), as_json=flags.JSON.value)
