"""Imports go down: ranks of folders, no circles of rooms or files.

A room is a subfolder of a large folder, or a file that lies flat in it.
"""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
# A folder may import those of lower rank, and itself.
RANKS = {
  "main": 7,
  "tasks": 6,
  "experiments": 5,
  "curation": 5,
  "inference": 4,
  "training": 4,
  "evaluators": 3,
  "input_pipeline": 2,
  "losses": 2,
  "models": 2,
  "configs": 1,
  "runtime": 0,
}
# Folders of equal rank that may import each other, in this direction alone.
SAME_RANK = {("inference", "training")}
# Importers of configs: a config is a file that users name by a flag.
READS_CONFIGS = {"configs", "experiments"}
# Modules that may import inside a function, each with its reason.
LATE = {
  "curation/engine/engines.py": "Ray is an optional package",
}
LATE_FOLDERS = {
  "tasks": "flags are parsed, and refused, before JAX is imported",
}


def files() -> dict[str, pathlib.Path]:
  """Return {module name: path} of all product code."""
  paths = [ROOT / "main.py"]
  for folder in RANKS:
    paths += sorted((ROOT / folder).rglob("*.py"))
  names = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
  return {
    ".".join(name).removesuffix(".__init__"): path
    for name, path in zip(names, paths, strict=True)
  }


def imports(path: pathlib.Path) -> list[tuple[str, bool]]:
  """Return (imported name, whether inside a function) of each import."""
  tree = ast.parse(path.read_text(encoding="utf-8"))
  late = {
    id(node)
    for function in ast.walk(tree)
    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    for node in ast.walk(function)
  }
  return [
    (name, id(node) in late) for node in ast.walk(tree) for name in _names(node)
  ]


def _names(node: ast.AST) -> list[str]:
  if isinstance(node, ast.Import):
    return [alias.name for alias in node.names]
  if isinstance(node, ast.ImportFrom):
    return [f"{node.module}.{alias.name}" for alias in node.names]
  return []


def room(module: str) -> str:
  """Return the folder below the top one that a module lies in, or itself."""
  return ".".join(module.split(".")[:2])
