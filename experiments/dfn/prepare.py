"""Writes the data of DFN's study: pool, filters, selections.

  npm pack @iconify/json@2.2.535 && tar xzf iconify-json-2.2.535.tgz
  python -m experiments.dfn.prepare --icons=package --out=cache/dfn_icons

Files below --out:

  pool/, trusted/, heldout/, tokenizer/, kinds.npy, facts.json
                       as experiments/curation/prepare_icons.py writes them
  trusted_noisy/, filter_PURITY.npy, filter_pairs.json
                       pairs of filters (filter_pairs.py)
  metadata/            MetaCLIP's, from packages
  filters/NAME/        runs of the filters
  curated/NAME/        workdirs of --task=curate
  selections/NAME.npy  UIDs of the pairs that an arm trains on, of all arms
                       equally many
  filters.json         written last: quality of filters and selections, which
                       report.py draws

Work that is done is not done again, so that the same command resumes a stopped
one. It begins processes of main.py in the current folder, the repository's.
"""

import pathlib
from collections.abc import Sequence

from absl import app, flags

from experiments.curation import packaged_metadata, prepare_icons
from experiments.dfn import config, filter_pairs, quality, selections
from experiments.parts import icon_sets, main_process, program
from runtime.storage import strict_json, whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_ICONS = flags.DEFINE_string(
  *("icons", None, "Folder of the unpacked npm package @iconify/json."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string(
  "out", config.FOLDER, "Folder to write.", flag_values=_FLAGS
)
_NUM_POOL = flags.DEFINE_integer(
  *("num_pool", 40_000, "Number of pairs of the noisy pool."),
  lower_bound=4,
  flag_values=_FLAGS,
)
_NUM_TRUSTED = flags.DEFINE_integer(
  *("num_trusted", 20_000, "Number of pairs of each filter."),
  lower_bound=1,
  flag_values=_FLAGS,
)
_STEPS = flags.DEFINE_integer(
  "steps",
  0,
  "Training steps of each filter, to try the program; 0 for the study's.",
  lower_bound=0,
  flag_values=_FLAGS,
)

_CONFIG = "experiments/dfn/config.py:filter"
_CURATE = "experiments/dfn/curate.py"


def main(argv: Sequence[str]) -> None:
  """Write all that is not there yet."""
  if len(argv) > 1:
    raise app.UsageError(f"arguments must be flags; got {argv[1:]}")
  if not _ICONS.value:
    raise app.UsageError("--icons=package is missing")
  out = pathlib.Path(_OUT.value)
  _make_pairs(pathlib.Path(_ICONS.value), out)
  for name in selections.FILTERS:
    _train(name, out)
  for selection in selections.CURATED:
    _select(selection, out)
  selections.draw_random(out)
  facts = quality.measure(out)
  text = strict_json.dumps(facts, indent=1) + "\n"
  whole_files.write(out / quality.JSON, text.encode())
  print(f"{out / quality.JSON}: {len(facts['selections'])} selections")


def _make_pairs(icons_folder: pathlib.Path, out: pathlib.Path) -> None:
  """Draw pool, clean set, held-out icons and the pairs of filters."""
  if (out / filter_pairs.FACTS).is_file():
    return
  package = icon_sets.open_package(icons_folder)
  num_pool = _NUM_POOL.value
  icons, held_out = prepare_icons.read(package, num_pool + _NUM_TRUSTED.value)
  prepare_icons.write(package, icons, held_out, out, num_pool=num_pool)
  filter_pairs.make(icons[num_pool:], package.titles, out)


def _train(name: str, out: pathlib.Path) -> None:
  """Train a filter, unless it is trained already."""
  folder = selections.filter_folder(out, name)
  if (folder / "results.json").exists():
    return
  chosen = selections.FILTERS[name]
  num_examples = _STEPS.value * config.BATCH_SIZE or chosen.num_examples
  subset = filter_pairs.subset(out, chosen.pairs)
  changes = {
    **config.folder_changes("filter", out),
    **config.length_changes(num_examples),
    "data.sources.main.subset": subset,
  }
  main_process.run(
    *(f"--config={_CONFIG}", f"--workdir={folder}"),
    *(f"--config.{field}={value}" for field, value in changes.items()),
  )


def _select(name: str, out: pathlib.Path) -> None:
  """Curate the pool and thin what is kept, unless that is done already."""
  if selections.path(out, name).exists():
    return
  folder = selections.curated_folder(out, name)
  chosen = selections.CURATED[name]
  common = (
    *("--task=curate", f"--config={_CURATE}:{chosen.variant}"),
    *(f"--workdir={folder}", f"--config.pool.path={out}/pool/*.tar"),
    *("--engine=processes", "--num_workers=2"),
    f"--config.cache_dir={out}/cache",
  )
  args = []
  if chosen.has_balance:
    args += packaged_metadata.flags_of(out / "metadata")
    # The captions are matched alone first, to find t.
    if not (folder / selections.T).exists():
      main_process.run(*common, *args, "--config.order=('match',)")
      selections.choose_t(out, name)
    args.append(f"--config.steps.balance.t={selections.read_t(out, name)}")
  if chosen.filter_name:
    model = selections.filter_folder(out, chosen.filter_name)
    args.append(f"--config.steps.embed.model={model}")
    args.append(f"--config.steps.top.fraction={chosen.fraction}")
  main_process.run(*common, *args)
  selections.thin(out, name)


if __name__ == "__main__":
  program.run(main, _FLAGS)
