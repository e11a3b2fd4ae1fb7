"""Train and use image-text dual encoders.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart
python main.py --task=inspect-data --config=configs/quickstart.py
python main.py --task=search --workdir=runs/quickstart --query="red car"
python main.py --task=embed --init_from=MODEL --images="*.jpg" --out=out
python main.py --task=prepare --config=configs/quickstart.py --out=data
python main.py --task=curate --config=configs/curate/align.py:mini --workdir=W
python main.py --task=plan --config=configs/siglip.py:b16 --topology=v5e:16x16
"""

from collections.abc import Callable, Mapping, Sequence

from absl import app, flags

from runtime import failures
from tasks import cluster_flags, data_flags, inference_flags
from tasks import flags as flags_lib

_TASK = flags.DEFINE_string("task", "train", "What to do; see TASKS.")
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "What --task=plan compiles for, as v5e:16x16 or cpu:8."
)
_NUM_SLICES = flags.DEFINE_integer("num_slices", 1, "Slices of --topology.")


def _train() -> int:
  from training import train

  config, folder = flags_lib.needed_config(), flags_lib.workdir()
  return train.run(config, folder, as_json=flags_lib.as_json())


def _plan() -> int:
  from training.plan import topology

  # Before anything imports JAX.
  slices = topology.prepare(_TOPOLOGY.value, _NUM_SLICES.value)
  from training.plan import plan

  config = flags_lib.needed_config()
  folder = flags_lib.workdir() if flags_lib.has_workdir() else None
  return plan.run(config, slices, folder, as_json=flags_lib.as_json())


# Tasks import what they need: a misspelt flag is answered at once.
TASKS: Mapping[str, Callable[[], int]] = {
  "train": cluster_flags.joined(_train),
  "evaluate": cluster_flags.joined(inference_flags.evaluate),
  "search": inference_flags.search,
  "embed": inference_flags.embed,
  "export": inference_flags.export,
  "curate": data_flags.curate,
  "inspect-data": data_flags.inspect_data,
  "metadata": data_flags.metadata,
  "plan": _plan,
  "prepare": data_flags.prepare,
}


def main(argv: Sequence[str]) -> int:
  if len(argv) > 1:
    raise app.UsageError(f"{argv[1]!r} is not a flag; flags start with --")
  if _TASK.value not in TASKS:
    raise app.UsageError(
      f"--task must be one of {', '.join(TASKS)}; got {_TASK.value!r}"
    )
  return TASKS[_TASK.value]()


if __name__ == "__main__":
  app.run(failures.reported(main), flags_parser=failures.parse_flags)
