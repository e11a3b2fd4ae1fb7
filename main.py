"""Train and use image-text dual encoders.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart
python main.py --task=inspect-data --config=configs/quickstart.py
python main.py --task=search --workdir=runs/quickstart --query="red car"
python main.py --task=serve --workdir=runs/quickstart
python main.py --task=explain --workdir=W --images=a.jpg --texts=cat --out=maps
python main.py --task=embed --init_from=MODEL --images="*.jpg" --out=out
python main.py --task=prepare --config=configs/quickstart.py --out=data
python main.py --task=curate --config=configs/curate/align.py:mini --workdir=W
python main.py --task=plan --config=configs/siglip.py:b16 --topology=v5e:16x16
python main.py --task=sweep --config=FILE --workdir=ROOT --sweep.seed=0..2
python main.py --task=launch --on=launch/tpu-spot.yaml -- --config=FILE ...
"""

from collections.abc import Sequence

from absl import app

import tasks
from runtime import failures, garbage, huge_pages, stopping
from tasks import command_line


def main(argv: Sequence[str]) -> int:
  """Run the task of --task; return the exit code."""
  return tasks.TASKS[command_line.task(argv)].run()


def _parse(argv: Sequence[str]) -> Sequence[str]:
  return command_line.parse(argv, __doc__)


if __name__ == "__main__":
  huge_pages.restart()
  garbage.raise_threshold()
  app.run(failures.reported(main, stopping.end), flags_parser=_parse)
