"""Train and use image-text dual encoders.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart
python main.py --task=inspect-data --config=configs/quickstart.py
python main.py --task=search --workdir=runs/quickstart --query="red car"
python main.py --task=explain --workdir=W --images=a.jpg --texts=cat --out=maps
python main.py --task=embed --init_from=MODEL --images="*.jpg" --out=out
python main.py --task=prepare --config=configs/quickstart.py --out=data
python main.py --task=curate --config=configs/curate/align.py:mini --workdir=W
python main.py --task=plan --config=configs/siglip.py:b16 --topology=v5e:16x16
"""

from collections.abc import Sequence

from absl import app, flags

import tasks
from runtime import failures, stopping
from tasks import flags as flags_lib
from tasks import task_help

_TASK = flags.DEFINE_string("task", "train", "Task to run, a key of TASKS.")


def main(argv: Sequence[str]) -> int:
  """Run the task of --task; return the exit code."""
  if len(argv) > 1:
    raise app.UsageError(f"{argv[1]!r} is not a flag; flags start with --")
  task_help.check_flags(_TASK.value, tasks.TASKS)
  return tasks.TASKS[_TASK.value].run()


def _parse(argv: Sequence[str]) -> Sequence[str]:
  task_help.print_if_asked(argv, tasks.TASKS, __doc__)
  return failures.parse_flags(
    argv,
    flags_lib.REMOVED,
    flags_lib.parse_config,
    flags_lib.check_config,
  )


if __name__ == "__main__":
  app.run(failures.reported(main, stopping.end), flags_parser=_parse)
