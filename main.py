"""Train and use image-text dual encoders.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart
python main.py --task=search --workdir=runs/quickstart --query="red car"
"""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from training import failures

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file, as configs/quickstart.py.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_TASK = flags.DEFINE_string("task", "train", "What to do; see TASKS.")
_JSON = flags.DEFINE_bool("json", False, "Print results as JSON.")
_QUERY = flags.DEFINE_string("query", "", "What --task=search looks for.")


def _train() -> int:
  from training import train

  if _CONFIG.value is None:
    raise app.UsageError("--config is missing: --config=configs/quickstart.py")
  config = _checked_config()
  return train.run(config, _workdir(), as_json=_JSON.value)


def _evaluate() -> int:
  from inference import evaluate

  config = None if _CONFIG.value is None else _checked_config()
  return evaluate.run(_workdir(), config, as_json=_JSON.value)


def _search() -> int:
  from inference import search

  return search.run(_workdir(), _QUERY.value, as_json=_JSON.value)


TASKS: Mapping[str, Callable[[], int]] = {
  "train": _train,
  "evaluate": _evaluate,
  "search": _search,
}


def _checked_config():
  from training import config as config_lib

  config = config_lib.from_mapping(_CONFIG.value.to_dict())
  config.check()
  return config


def _workdir() -> pathlib.Path:
  if not _WORKDIR.value:
    raise app.UsageError("--workdir is missing: --workdir=runs/NAME")
  return pathlib.Path(_WORKDIR.value)


def main(argv: Sequence[str]) -> int:
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # libraries log every step of theirs
  try:
    if len(argv) > 1:
      raise app.UsageError(f"{argv[1]!r} is not a flag; flags start with --")
    if _TASK.value not in TASKS:
      raise app.UsageError(
        f"--task must be one of {', '.join(TASKS)}; got {_TASK.value!r}"
      )
    return TASKS[_TASK.value]()
  except Exception as error:
    message = failures.describe(error)
    if message is None:
      raise
    logging.debug("The traceback:", exc_info=True)  # with --verbosity=1
    print(f"error: {message}", file=sys.stderr)
    return 1


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
  try:
    return flags.FLAGS(argv)
  except Exception as error:  # config files and ml_collections raise any
    print(f"error: {failures.describe_flag(error)}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
  app.run(main, flags_parser=_parse_flags)
