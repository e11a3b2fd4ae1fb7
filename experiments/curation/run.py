"""Runs the experiment of this folder's README; resumes a stopped call.

  python -m experiments.curation.run --data=cache/icons --out=runs/icons

Folders in --out: `filter` (DFN's network), curate_ARM (the selections),
ARM-SEED (the runs; heldout.json marks a finished one). report.py writes
results.json, results.md and results.svg beside them. Arms take turns, a seed at
a time.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import app, flags, logging

from experiments.curation import heldout, packaged_metadata, report
from experiments.parts import main_process
from runtime.storage import whole_files

_DATA = flags.DEFINE_string(
  "data", "cache/icons", "Folder written by prepare_icons.py."
)
_OUT = flags.DEFINE_string("out", "runs/icons", "Folder of the runs.")
_ARMS = flags.DEFINE_list(
  "arms", list(report.ARMS), f"Arms to run, of {', '.join(report.ARMS)}."
)
_SEEDS = flags.DEFINE_list(
  "seeds", ["0", "1", "2"], "Seeds; one run of each arm for each."
)
_TOTAL_STEPS = flags.DEFINE_integer(
  "total_steps",
  0,
  "Training steps of each run; 0 takes total_steps of config.py.",
  lower_bound=0,
)
_REPORT_ONLY = flags.DEFINE_bool(
  "report_only", False, "Report on finished runs; start none."
)

_CONFIG = "experiments/curation/config.py"


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)  # Orbax tells of each file it reads
  data, out = pathlib.Path(_DATA.value), pathlib.Path(_OUT.value)
  unknown = [arm for arm in _ARMS.value if arm not in report.ARMS]
  if unknown:
    raise app.UsageError(
      f"--arms must be of {', '.join(report.ARMS)}; got {unknown}"
    )
  if not (data / "facts.json").exists():
    raise app.UsageError(
      f"--data={data} holds no icons yet: python -m "
      "experiments.curation.prepare_icons"
    )
  seeds = [int(seed) for seed in _SEEDS.value]
  if not _REPORT_ONLY.value:
    for arm in _ARMS.value:
      select(arm, data, out)
    for seed in seeds:
      for arm in _ARMS.value:
        train(arm, seed, data, out)
  print(report.write(data, out))


def select(arm: str, data: pathlib.Path, out: pathlib.Path) -> None:
  """Curate the pool for an arm, unless the arm is raw or curated already."""
  folder = out / f"curate_{arm}"
  if arm == "raw" or (folder / "manifest.json").exists():
    return
  args = [
    *("--task=curate", f"--config=experiments/curation/{arm}.py"),
    *(f"--workdir={folder}", f"--config.pool.path={data}/pool/*.tar"),
    *("--engine=processes", "--num_workers=2"),
    f"--config.cache_dir={data}/cache",
  ]
  if arm == "metaclip":
    args += packaged_metadata.flags_of(data / "metadata")
  if arm == "dfn":
    _train("filter", out / "filter", data, seed=0)
    _evaluate(out / "filter", data)
    args.append(f"--config.steps.embed.model={out}/filter")
  main_process.run(*args)


def train(arm: str, seed: int, data: pathlib.Path, out: pathlib.Path) -> None:
  """Train and evaluate one run, unless it is finished."""
  folder = out / f"{arm}-{seed}"
  if (folder / "heldout.json").exists():
    return
  subset = "" if arm == "raw" else f"{out}/curate_{arm}/selection.npy"
  _train("arm", folder, data, seed=seed, subset=subset)
  _evaluate(folder, data)


def _train(
  variant: str,
  folder: pathlib.Path,
  data: pathlib.Path,
  *,
  seed: int,
  subset: str = "",
) -> None:
  tars = "trusted" if variant == "filter" else "pool"
  steps = _TOTAL_STEPS.value
  main_process.run(
    *(f"--config={_CONFIG}:{variant}", f"--workdir={folder}"),
    *(f"--config.seed={seed}", f"--config.data.cache_dir={data}/cache"),
    f"--config.data.sources.main.path={data}/{tars}/*.tar",
    f"--config.data.sources.main.subset={subset}",
    f"--config.data.tokenizer_path={data}/tokenizer",
    *([f"--config.total_steps={steps}"] if steps else []),
  )


def _evaluate(folder: pathlib.Path, data: pathlib.Path) -> None:
  results = json.dumps(heldout.evaluate(folder, data), indent=2)
  whole_files.write(folder / "heldout.json", results.encode() + b"\n")


if __name__ == "__main__":
  app.run(main)
